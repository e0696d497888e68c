package access

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

func originRequest(origin string) *http.Request {
	return &http.Request{Header: http.Header{"Origin": {origin}}, Host: "site.example"}
}

func TestOriginsOfAnAppAreParsedOnceForEachChange(t *testing.T) {
	var kept AppOrigins
	before := &keystore.App{ID: "app_a", AllowedOrigins: []string{"https://a.example", "https://*.b.example"}}
	r := originRequest("https://a.example")
	if err := kept.Check(before, r); err != nil {
		t.Fatal(err)
	}
	parsed := kept.of(before)
	if err := kept.Check(before, r); err != nil || kept.of(before) != parsed {
		t.Errorf("parsed again, or %v", err)
	}
	after := &keystore.App{ID: "app_a", AllowedOrigins: []string{"https://b.example"}}
	if err := kept.Check(after, r); err == nil {
		t.Error("an origin that was withdrawn is allowed")
	}
	if err := kept.Check(after, originRequest("https://b.example")); err != nil {
		t.Error(err)
	}
	unreadable := &keystore.App{ID: "app_a", AllowedOrigins: []string{"junk"}}
	if err := kept.Check(unreadable, r); err == nil {
		t.Error("a list that cannot be read allows an origin")
	}
	kept.Forget("app_a")
	if _, ok := kept.parsed.Load("app_a"); ok {
		t.Error("kept after the app is gone")
	}
}

func BenchmarkOriginOfAnApp(b *testing.B) {
	for _, n := range []int{1, 50} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			app := &keystore.App{ID: "app_a"}
			for i := range n {
				app.AllowedOrigins = append(app.AllowedOrigins, fmt.Sprintf("https://a%d.example", i))
			}
			var kept AppOrigins
			r := originRequest("https://a0.example")
			b.ReportAllocs()
			for b.Loop() {
				if err := kept.Check(app, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
