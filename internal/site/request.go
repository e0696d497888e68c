package site

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// OriginalURL returns the URL as sent by the client, or nil if it is not known.
func OriginalURL(r *http.Request) *url.URL {
	original, _ := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	return original.URL
}

// Restored returns the request with the URL as sent by the client.
func Restored(r *http.Request, original *url.URL) *http.Request {
	r = r.WithContext(r.Context())
	r.URL = original
	r.RequestURI = original.RequestURI()
	return r
}

// LostPrefix returns the prefix that handle_path or a similar directive stripped from
// the path, or "". ok is false if the path was changed in another way.
func LostPrefix(r *http.Request) (prefix string, ok bool) {
	original := OriginalURL(r)
	if original == nil {
		return "", true
	}
	// Compare without trailing slashes, in which spellings differ.
	cut := func(p string) string { return strings.TrimSuffix(caddyhttp.CleanPath(p, true), "/") }
	return strings.CutSuffix(cut(original.Path), cut(r.URL.Path))
}

// IsSecure reports whether the client uses TLS: on the connection to Caddy or,
// according to X-Forwarded-Proto, on the connection to a proxy that Caddy trusts.
func IsSecure(r *http.Request) bool {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",") // with several proxies, the client's is first
		switch strings.ToLower(strings.TrimSpace(first)) {
		case "https", "wss":
			return true
		case "http", "ws":
			return false
		}
	}
	return r.TLS != nil
}

// ClientIP returns the client's address as determined by Caddy, taking trusted
// proxies into account. It is "" for clients of a unix socket.
func ClientIP(r *http.Request) string {
	if ip, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok {
		return ip
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr) // "" for a unix socket
	return host
}
