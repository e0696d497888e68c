package access

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// sentOrigins are origins that browsers, web views and devices send.
var sentOrigins = []string{
	"file://", "null", "capacitor://localhost", "ionic://localhost", "app://.", "app://localhost",
	"tauri://localhost", "http://tauri.localhost", "https://tauri.localhost",
	"chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb", "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc",
	"safari-web-extension://1C127FA4-62C7-7E4F-90E5-472B45EECFDC", "vscode-webview://0abc", "ms-appx-web://app",
	"http://localhost", "http://localhost:5173", "https://a.example:8443", "https://a.example.", "http://a_b.example",
	"http://[::1]", "http://[2001:db8::1]:3000", "http://192.0.2.1:8080", "https://xn--grn-joa.example",
}

var adviceLine = regexp.MustCompile(`in the Caddyfile: origins … (.*)$`)

func TestTheAdviceForARefusedOriginIsAcceptedWhenItIsFollowed(t *testing.T) {
	list := []string{"https://listed.example"}
	o, err := ParseOrigins(list)
	if err != nil {
		t.Fatal(err)
	}
	odd := []string{
		"", "*", "https://", "http://.", "https://*", "https://*.a.example", "https://a.example/", "https://a.example,https://b.example",
		"https://a b", "https://x } respond", "junk", "://", "https://a..b", "https://" + strings.Repeat("x", 300), "https://gr\u00fcn.example",
		"file:///", "app://..", "app:// .", "https://a.example:0", "https://{env.X}", "https://a\"b", "HTTPS://A.EXAMPLE", "#://a", "\xff://a",
	}
	for i, origin := range append(sentOrigins, odd...) {
		r := originRequest(origin)
		if o.Allows(r) {
			t.Errorf("%q is allowed", origin)
		}
		core, logs := observer.New(zap.WarnLevel)
		new(RefusedOrigins).Log(zap.New(core), o, r)
		message := adviceLine.FindStringSubmatch(SiteOriginError(r).Message)
		if i < len(sentOrigins) && (message == nil || logs.Len() != 1) {
			t.Errorf("%q gets no advice: %s", origin, SiteOriginError(r).Message)
		}
		var advised [][]string
		if message != nil {
			advised = append(advised, append(list[:1:1], strings.Fields(message[1])...))
			if !strings.Contains(appOriginError(r).Message, "Add it") {
				t.Errorf("%q: %s", origin, appOriginError(r).Message)
			}
			advised = append(advised, []string{origin}) // into the app's allowed origins
		}
		for _, entry := range logs.All() {
			advised = append(advised, strings.Fields(entry.ContextMap()["line"].(string))[1:])
		}
		for _, lines := range advised {
			d := caddyfile.NewTestDispenser("origins " + strings.Join(lines, " "))
			d.Next()
			followed, err := ParseOrigins(d.RemainingArgs())
			if err != nil || !followed.Allows(r) {
				t.Errorf("%q is refused, though %q is listed: %v", origin, lines, err)
			}
		}
	}
}

func TestTheAdviceForAMistypedOriginIsAcceptedWhenItIsFollowed(t *testing.T) {
	advice := regexp.MustCompile(`; write (\S+(?: [a-z+.-]+://\S+)*)`)
	for _, c := range []struct{ origin, write string }{
		{"a.example", "https://a.example"},
		{"localhost:3000", "https://localhost:3000"},
		{"https://a.example/", "https://a.example"},
		{"https://a.example/path?q#f", "https://a.example"},
		{"file:///", "file://"},
		{"https://a.example,https://b.example", "https://a.example https://b.example"},
		{"https://a.example,", "https://a.example"},
		{"https://a.example,https://a.example", "https://a.example"},
		{"https://a.example,https:", ""},
		{"a.example,b.example", ""},
		{",", ""},
		{"a*.example", ""},
		{"ht tp://a", ""},
		{"http:///", ""},
		{"", ""},
		{"gr\u00fcn.example", ""},
		{"http://a b/", ""},
		{"https://*", "https://*.example.com"},
		{"https://a*.example", "https://*.example.com"},
	} {
		_, err := ParseOrigins([]string{c.origin})
		if err == nil {
			t.Errorf("%q is accepted", c.origin)
			continue
		}
		write := ""
		if found := advice.FindStringSubmatch(err.Error()); found != nil {
			write = found[1]
		}
		if write != c.write {
			t.Errorf("%q: %v advises %q, not %q", c.origin, err, write, c.write)
		}
		if _, err := ParseOrigins(strings.Fields(write)); err != nil {
			t.Errorf("%q: %q gets %v", c.origin, write, err)
		}
	}
}

func TestARefusedOriginIsLoggedThoughOthersFilledTheLogBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		logger := zap.New(core)
		o, err := ParseOrigins([]string{"https://a.example"})
		if err != nil {
			t.Fatal(err)
		}
		var refused RefusedOrigins
		from := func(origin string) {
			r := httptest.NewRequest(http.MethodPost, "/publish", http.NoBody)
			r.Header.Set("Origin", origin)
			refused.Log(logger, o, r)
		}
		for i := range 3 * maxRefusedOrigins {
			from("https://junk" + strconv.Itoa(i) + ".example")
		}
		if logs.Len() != maxRefusedOrigins {
			t.Fatalf("logged %d times", logs.Len())
		}
		for range 5 {
			time.Sleep(refusedOriginsWindow)
			from("https://forgotten.example")
		}
		if n := logs.FilterField(zap.String("origin", "https://forgotten.example")).Len(); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}
