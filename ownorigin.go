package realtime

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// unknownOrigin stands in snippets and on the documentation page where the
// site's origin is not known.
const unknownOrigin = "https://YOUR_SITE"

// isSecure reports whether the client uses TLS: on the connection to Caddy, or,
// as X-Forwarded-Proto says, on the connection to a proxy that Caddy trusts.
func isSecure(r *http.Request) bool {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",") // the client's, if there are several proxies
		switch strings.ToLower(strings.TrimSpace(first)) {
		case "https", "wss":
			return true
		case "http", "ws":
			return false
		}
	}
	return r.TLS != nil
}
