package realtime

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/portal"
)

func TestOnlyAHostMakesAnOrigin(t *testing.T) {
	for host, want := range map[string]string{
		"example.com": "https://example.com", "EXAMPLE.com:443": "https://example.com", "a_b-c.example:8443": "https://a_b-c.example:8443",
		"127.0.0.1:80": "https://127.0.0.1:80", "[::1]:8443": "https://[::1]:8443",
		"": "", "$(id)": "", "`id`": "", "a;b": "", `a"b`: "", "a b": "", "a\nb": "", "*.example.com": "", "a@b": "", "a/b": "", "a?b": "", "a#b": "",
		"a:0": "", "a:$x": "", "::1": "", "[$(id)]": "", "[::1%$(id)]": "", "é.example": "", strings.Repeat("a", 300): "",
	} {
		if got, ok := access.SiteOrigin(host, true); got != want || ok != (want != "") {
			t.Errorf("%q makes %q, not %q", host, got, want)
		}
	}
}

func TestTheForwardedSchemeCountsFromTrustedProxiesOnly(t *testing.T) {
	for _, c := range []struct {
		trusted   any
		forwarded string
		tls       bool
		want      string
	}{
		{true, "https", false, "https"},
		{true, "HTTPS, http", false, "https"},
		{true, "wss", false, "https"},
		{true, "http", true, "http"},
		{true, "", false, "http"},
		{true, "gopher", true, "https"},
		{true, "javascript://", false, "http"},
		{false, "https", false, "http"},
		{false, "http", true, "https"},
		{nil, "https", false, "http"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/docs", nil)
		r.Host = "example.com"
		if c.tls {
			r.TLS = new(tls.ConnectionState)
		}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-Proto", c.forwarded)
		}
		if c.trusted != nil {
			r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.TrustedProxyVarKey: c.trusted}))
		}
		h := documented(t, "/docs")
		if got := h.docsPlace(r).explain(apierr.AppDisabled()).Docs; got != c.want+"://example.com/docs#app_disabled" {
			t.Errorf("%+v: an error links to %s", c, got)
		}
		if got := h.docs(r).Origin; got != c.want+"://example.com" {
			t.Errorf("%+v: the page says %s", c, got)
		}
	}
}

func TestAHostThatIsNoneIsInNoSnippetAndNoLink(t *testing.T) {
	h := documented(t, "/docs")
	r := httptest.NewRequest(http.MethodGet, "/docs", nil)
	r.Host = "$(id)"
	w := httptest.NewRecorder()
	h.serveDocs(w, r)
	if page := w.Body.String(); strings.Contains(page, "$(id)") || !strings.Contains(page, unknownOrigin+"/publish") {
		t.Error(page)
	}
	if refusal := h.docsPlace(r).explain(apierr.AppDisabled()); refusal.Docs != "" {
		t.Error(refusal.Docs)
	}
}

func TestErrorsLinkToADocsPageAtTheRoot(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://example.com/", nil)
	h := documented(t, "/")
	if got := h.docsPlace(r).explain(apierr.AppDisabled()).Docs; got != "http://example.com/#app_disabled" {
		t.Error(got)
	}
	h = new(Handler)
	if got := h.docsPlace(r).explain(apierr.AppDisabled()).Docs; got != "" {
		t.Error(got)
	}
}

// documented returns a handler with a documentation page, as Provision leaves it.
func documented(t *testing.T, path string) *Handler {
	t.Helper()
	page, err := portal.NewDocsPage()
	if err != nil {
		t.Fatal(err)
	}
	h := &Handler{PublishPath: "/publish", SocketPath: "/socket.io", DocsPath: strings.TrimSuffix(path, "/"), docsPage: page, app: new(App)}
	h.app.setDefaults()
	return h
}
