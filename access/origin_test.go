package access

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestOriginsAreAllowedOrNot(t *testing.T) {
	for _, c := range []struct {
		name, list, origin, host string
		allowed                  bool
	}{
		{"any by default", "", "https://a.example", "", true},
		{"any by a star", "*", "https://a.example", "", true},
		{"null where any is", "", "null", "", true},
		{"none sent", "https://a.example", "", "", true},
		{"listed", "https://a.example", "https://a.example", "", true},
		{"the second of the list", "https://a.example https://b.example", "https://b.example", "", true},
		{"not listed", "https://a.example", "https://b.example", "", false},
		{"another scheme", "https://a.example", "http://a.example", "", false},
		{"another port", "https://a.example", "https://a.example:8443", "", false},
		{"the listed port", "https://a.example:8443", "https://a.example:8443", "", true},
		{"default port listed", "https://a.example:443", "https://a.example", "", true},
		{"default port sent", "http://a.example", "http://a.example:80", "", true},
		{"another case", "https://A.Example", "https://a.example", "", true},
		{"another case sent", "https://a.example", "HTTPS://A.EXAMPLE", "", true},
		{"suffix of a listed host", "https://a.example", "https://xa.example", "", false},
		{"listed host as a subdomain", "https://a.example", "https://a.example.evil.example", "", false},
		{"listed host as user", "https://a.example", "https://a.example@evil.example", "", false},
		{"with a path", "https://a.example", "https://a.example/", "", false},
		{"IPv6", "http://[::1]:3000", "http://[::1]:3000", "", true},
		{"IPv6 listed in another way", "http://[0:0::1]", "http://[::1]", "", true},
		{"port listed with a zero before it", "https://a.example:0443", "https://a.example", "", true},
		{"Kelvin sign for a k", "https://k.example", "https://\u212a.example", "", false},
		{"Kelvin sign in the site's host", "https://a.example", "https://k.example", "\u212a.example", false},
		{"subdomain", "https://*.a.example", "https://b.a.example", "", true},
		{"subdomain of a subdomain", "https://*.a.example", "https://c.b.a.example", "", true},
		{"subdomain in another case", "https://*.A.example", "https://B.a.example", "", true},
		{"the domain itself", "https://*.a.example", "https://a.example", "", false},
		{"no label", "https://*.a.example", "https://.a.example", "", false},
		{"end of another label", "https://*.a.example", "https://ba.example", "", false},
		{"subdomain with another port", "https://*.a.example", "https://b.a.example:1", "", false},
		{"subdomain with another scheme", "https://*.a.example", "http://b.a.example", "", false},
		{"null", "https://a.example", "null", "", false},
		{"null listed", "null", "null", "", true},
		{"app's scheme", "capacitor://localhost", "capacitor://localhost", "", true},
		{"nonsense", "https://a.example", "a.example", "", false},
		{"two in one", "https://a.example", "https://a.example, https://b.example", "", false},
		{"the site itself", "https://a.example", "https://site.example", "site.example", true},
		{"the site behind a proxy that ends TLS", "https://a.example", "https://site.example", "site.example:443", true},
		{"the site on a port", "https://a.example", "http://localhost:8080", "localhost:8080", true},
		{"the site on another port", "https://a.example", "http://localhost:3000", "localhost:8080", false},
		{"the site in another case", "https://a.example", "https://site.example", "Site.Example", true},
		{"the site by another scheme", "https://a.example", "ftp://site.example", "site.example", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := ParseOrigins(strings.Fields(c.list))
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodPost, "/publish", http.NoBody)
			if c.host != "" {
				r.Host = c.host
			}
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			if got := o.Allows(r); got != c.allowed {
				t.Fatalf("allowed: %t", got)
			}
		})
	}
}

func TestTwoOriginHeadersAreRefused(t *testing.T) {
	o, err := ParseOrigins([]string{"https://a.example"})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/publish", http.NoBody)
	r.Header["Origin"] = []string{"https://a.example", "https://b.example"}
	if o.Allows(r) {
		t.Fatal("allowed")
	}
}

func TestBadOriginsAreRefusedWithTheCure(t *testing.T) {
	for _, c := range []struct{ list, says string }{
		{"a.example", "write https://a.example"},
		{"localhost:3000", "write https://localhost:3000"},
		{"https://a.example/", "write https://a.example"},
		{"https://a.example/app?x#y", "write https://a.example"},
		{"https://a.example:port", "bad port"},
		{"https://a.example:0", "bad port"},
		{"https://a.example:70000", "bad port"},
		{"https://", "is not scheme://host"},
		{"https://a..example", "is not scheme://host"},
		{"https://grün.example", "xn--"},
		{"https://u:p@a.example", "bad port"},
		{"https://u@a.example", "is not scheme://host"},
		{"ht tp://a", "no scheme"},
		{"1http://a", "is not scheme://host"},
		{"https://[::1:443", "is not scheme://host"},
		{"https://[127.0.0.1]", "is not scheme://host"},
		{"https://[fe80::1%25eth0]", "is not scheme://host"},
		{"https://\u212a.example", "xn--"},
		{"https://[::1", "is not scheme://host"},
		{"https://*", "wildcard"},
		{"https://a.*.example", "wildcard"},
		{"https://a*.example", "wildcard"},
		{"https://*a.example", "wildcard"},
		{"https://*.*.example", "wildcard"},
		{"* https://a.example", "remove it or the others"},
		{"https://a.example *", "remove it or the others"},
		{"https://a.example https://b.example https://a.example", "duplicate"},
	} {
		if _, err := ParseOrigins(strings.Fields(c.list)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", c.list, err, c.says)
		}
	}
}

func TestCORSHeaders(t *testing.T) {
	for _, c := range []struct {
		name, list, origin        string
		allowed, credentials, via string
	}{
		{"any", "", "https://a.example", "*", "", ""},
		{"any, no browser", "", "", "*", "", ""},
		{"listed", "https://a.example", "https://a.example", "https://a.example", "true", "Origin"},
		{"listed, no browser", "https://a.example", "", "", "", "Origin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := ParseOrigins(strings.Fields(c.list))
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodPost, "/publish", http.NoBody)
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			h := make(http.Header)
			o.SetCORS(h, r)
			if h.Get("Access-Control-Allow-Origin") != c.allowed ||
				h.Get("Access-Control-Allow-Credentials") != c.credentials || h.Get("Vary") != c.via {
				t.Fatalf("got %v", h)
			}
		})
	}
}

func TestSocketPreflightAllowsWhatIsAskedFor(t *testing.T) {
	for _, c := range []struct{ asked, allowed string }{
		{"content-type, x-my_header", "content-type, x-my_header"},
		{"", ""},
		{"x\r\nset-cookie: a", ""},
		{strings.Repeat("x", 2000), ""},
	} {
		r := httptest.NewRequest(http.MethodOptions, "/socket.io/", http.NoBody)
		r.Header["Origin"] = []string{"https://a.example"}
		r.Header["Access-Control-Request-Method"] = []string{"POST"}
		r.Header["Access-Control-Request-Headers"] = []string{c.asked}
		if !IsPreflight(r) {
			t.Fatal("is not seen as a preflight")
		}
		w := httptest.NewRecorder()
		AnswerSocketPreflight(w, r)
		h := w.Header()
		if w.Code != http.StatusNoContent || h.Get("Access-Control-Allow-Headers") != c.allowed ||
			h.Get("Access-Control-Allow-Methods") != "GET, POST" || h.Get("Access-Control-Max-Age") != "86400" {
			t.Errorf("%q: got %d %v", c.asked, w.Code, h)
		}
	}
}

func TestARefusedOriginIsLoggedOnceWithTheLineToAdd(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	logger := zap.New(core)
	o, err := ParseOrigins([]string{"https://a.example"})
	if err != nil {
		t.Fatal(err)
	}
	var refused RefusedOrigins
	from := func(origin string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/publish", http.NoBody)
		r.Header.Set("Origin", origin)
		return r
	}
	for range 3 {
		refused.Log(logger, o, from("https://b.example"))
	}
	// An origin that no browser sends must not end up in somebody's
	// configuration.
	for _, origin := range []string{"https://*.example", "https://x } respond", "junk", "https://" + strings.Repeat("x", 300)} {
		refused.Log(logger, o, from(origin))
	}
	if logs.Len() != 1 {
		t.Fatalf("logged %d times", logs.Len())
	}
	if line := logs.All()[0].ContextMap()["line"]; line != "origins https://a.example https://b.example" {
		t.Fatalf("the line is %q", line)
	}
	refused.Log(logger, o, from("null"))
	for i := range 2 * maxRefusedOrigins {
		refused.Log(logger, o, from("https://x"+strconv.Itoa(i)))
	}
	if logs.Len() != maxRefusedOrigins {
		t.Fatalf("logged %d times", logs.Len())
	}
}

func TestKeysInOriginsAreMaskedBeforeTheyAreCut(t *testing.T) {
	const secret = "0123456789abcdefghijABCDEFGHIJ42"
	for _, prefix := range []string{"pk_live_", "sub_live_", "sign_live_", "whsec_"} {
		for _, before := range []string{"", "Bearer ", "https://", "a=", strings.Repeat("x", 40), strings.Repeat("x", 62), "sub_live", "whsec"} {
			for _, after := range []string{"", " ", "\n" + secret, "," + prefix + secret, strings.Repeat("y", 400)} {
				sent := before + prefix + secret + after
				for name, got := range map[string]string{
					"originText":      originText(sent),
					"SiteOriginError": SiteOriginError(originRequest(sent)).Message,
				} {
					if strings.Contains(got, secret[:1]) || len(before) < 40 && !strings.Contains(got, prefix+"…") {
						t.Errorf("%s of %q is %s", name, sent, got)
					}
				}
			}
		}
	}
}

func TestAKeyInAListOfOriginsIsNotRepeated(t *testing.T) {
	for _, origin := range []string{"pk_live_0123456789", "https://a.example/pk_live_0123456789", "pk_live_0123456789,https://a.example"} {
		if _, err := ParseOrigins([]string{origin}); err == nil || strings.Contains(err.Error(), "0123") {
			t.Errorf("%q: %v", origin, err)
		}
	}
}
