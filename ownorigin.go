package realtime

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// unknownOrigin stands in snippets and on the documentation page where the
// site's origin is not known.
const unknownOrigin = "https://YOUR_SITE"

// maxHost is the longest host name with a port.
const maxHost = 253 + len(":65535")

// siteOrigin is the origin under which a client addressed the site. It returns
// false for a Host that is not a host name or IP address with an optional port:
// a site that takes every host gets whatever a client sends, and people paste
// the origin into a shell.
func siteOrigin(host string, secure bool) (string, bool) {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	if len(host) > maxHost || strings.Contains(host, "*") {
		return "", false
	}
	_, name, port, err := splitOrigin(scheme + "://" + host)
	if err != nil {
		return "", false
	}
	return joinOrigin(scheme, name, port), true
}

// isSecure reports whether the client uses TLS: on the connection to Caddy, or,
// as X-Forwarded-Proto says, on the connection to a proxy that Caddy trusts.
func isSecure(r *http.Request) bool {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",") // the client's, if there are several proxies
		switch lower(strings.TrimSpace(first)) {
		case "https", "wss":
			return true
		case "http", "ws":
			return false
		}
	}
	return r.TLS != nil
}
