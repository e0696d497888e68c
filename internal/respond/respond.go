// Package respond writes complete responses.
package respond

import (
	"net/http"
	"strconv"

	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// JSON responds with v, which must marshal. Caches must not store the response: it
// contains secrets or was only true for a moment.
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

// HTML responds with a page.
func HTML(w http.ResponseWriter, status int, page []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(status)
	_, _ = w.Write(page) // a client that has left needs no response
}

// SetRateLimit sets the headers that describe the limit applied to a publish, if
// there was one.
func SetRateLimit(h http.Header, result limit.Result) {
	if result.Limit == 0 {
		return
	}
	// The name is spelled Ratelimit-Limit, which is equivalent (RFC 9110, section
	// 5.1): handlers that change headers only look for that spelling.
	SetHeaders(h,
		[]string{"Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset"},
		[]string{strconv.Itoa(result.Limit), strconv.Itoa(result.Remaining), text.WholeSeconds(result.Reset)})
}

// SetHeaders sets headers with canonical names, like Set for each. The response
// keeps values, which must not be shared: Caddy's header directive changes them in
// place.
func SetHeaders(h http.Header, names, values []string) {
	for i, name := range names {
		h[name] = values[i : i+1 : i+1]
	}
}
