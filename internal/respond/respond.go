// Package respond writes whole responses.
package respond

import (
	"net/http"
	"strconv"

	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// JSON answers with v, which must marshal. Caches must not keep it: it has
// secrets, or was true for a moment only.
func JSON(w http.ResponseWriter, status int, v any) {
	body, _ := text.JSON(v)
	body = append(body, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// HTML answers with a page.
func HTML(w http.ResponseWriter, status int, page []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(status)
	_, _ = w.Write(page) // who has gone reads nothing
}

// SetRateLimit tells of the limit that a publish was held against, if there is
// one.
func SetRateLimit(h http.Header, result limit.Result) {
	if result.Limit == 0 {
		return
	}
	// Sent as Ratelimit-Limit, which is the same name (RFC 9110, section 5.1):
	// handlers that change headers look for that spelling only.
	SetHeaders(h,
		[]string{"Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset"},
		[]string{strconv.Itoa(result.Limit), strconv.Itoa(result.Remaining), text.WholeSeconds(result.Reset)})
}

// SetHeaders sets headers whose names are in canonical form, as Set does one by
// one. The values are the answer's own: Caddy's header directive changes them
// in place.
func SetHeaders(h http.Header, names, values []string) {
	for i, name := range names {
		h[name] = values[i : i+1 : i+1]
	}
}
