package access

import (
	"net/http"
	"strings"
)

// SetCORS lets scripts of an allowed origin read the answer.
//
// If any origin is allowed, the answer is "*", which a browser does not accept
// for requests with credentials (withCredentials: true). Reflecting the origin
// instead would let any page in the world read what this site answers to a
// user's cookies. Sites that need cookies, for a sticky load balancer, list
// their origins; then the origin is reflected, with credentials.
func (o *Origins) SetCORS(h http.Header, r *http.Request) {
	if o.Any() {
		h.Set("Access-Control-Allow-Origin", "*")
		return
	}
	if len(r.Header["Origin"]) == 0 {
		h.Add("Vary", "Origin") // a cache must not reuse this answer for a request with Origin
		return
	}
	ReflectOrigin(h, r)
}

// ReflectOrigin lets the request's origin read the answer, whatever it is. A
// client must be able to read why its socket is refused, so the socket endpoint
// calls it for refused origins too: the refusal is all that they learn.
func ReflectOrigin(h http.Header, r *http.Request) {
	h.Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// IsPreflight reports whether a request is a CORS preflight.
func IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions &&
		r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// AnswerPublishPreflight answers an allowed origin's preflight for POST /publish.
func AnswerPublishPreflight(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "POST")
	h.Set("Access-Control-Allow-Headers", "Content-Type, X-App-Id, Authorization, Idempotency-Key")
	preflight(w)
}

// AnswerSocketPreflight answers a preflight for long-polling. The stock client
// needs none by default; with extraHeaders it asks for those. They have no
// effect here, so all requested headers are allowed, as the Node server does.
func AnswerSocketPreflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST")
	h.Add("Vary", "Access-Control-Request-Headers")
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" && isHeaderList(asked) {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	preflight(w)
}

func preflight(w http.ResponseWriter) {
	w.Header().Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
}

// isHeaderList reports whether s is a list of header names, of reasonable
// length, that can be repeated in an answer.
func isHeaderList(s string) bool {
	return len(s) <= 1024 && strings.IndexFunc(s, func(c rune) bool {
		isName := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
		return !isName && c != ',' && c != ' '
	}) < 0
}
