package realtime

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLongHostAndOriginAreNotKept(t *testing.T) {
	allowed := strings.Repeat("a", 290) + ".example.org"
	r := httptest.NewRequest(http.MethodGet, "/socket.io/", nil)
	r.Host = strings.Repeat("h", 1<<16)
	r.Header.Set("Origin", "https://"+allowed)
	v := new(Handler).newVisitor(r, true)
	origin := v.origin.Get("Origin")
	if len(v.site.host) > 310 || len(origin) > 310 {
		t.Errorf("%d bytes of the host are kept, %d of the origin", len(v.site.host), len(origin))
	}
	r = httptest.NewRequest(http.MethodGet, "/socket.io/", nil)
	r.Header.Set("Origin", "https://"+strings.Repeat("a", 281)+".example.org.evil.example")
	if got := new(Handler).newVisitor(r, true).origin.Get("Origin"); strings.HasSuffix(got, ".example.org") {
		t.Errorf("what is left of the origin is another: %s", got)
	}
}

func TestHandshakeWithTwoOriginsIsRefused(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/socket.io/", http.NoBody)
	r.Header["Origin"] = []string{"https://a.example", "https://b.example"}
	if v := new(Handler).newVisitor(r, true); v.refusal == nil || v.refusal.Code != "invalid_request" {
		t.Errorf("got %v", v.refusal)
	}
	r.Header["Origin"] = r.Header["Origin"][:1]
	if v := new(Handler).newVisitor(r, true); v.refusal != nil {
		t.Errorf("one origin: %v", v.refusal)
	}
}
