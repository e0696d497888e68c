package realtime

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// A place is what a handler serves at a path.
type place int

const (
	notOurs place = iota
	publishPlace
	socketPlace
	docsPagePlace
)

// find returns what the handler serves at a path, in a form that Caddy's path
// matchers take for the same one: dots resolved and slashes merged, as they do.
// exact is false for spellings that a matcher of the configured path may not
// match, or that only match because matchers ignore case. These are not
// served, so that what guards /publish cannot be avoided by /publish/.
func (h *Handler) find(p string) (found place, exact bool) {
	switch { // without allocating
	case p == h.PublishPath:
		return publishPlace, true
	case strings.TrimSuffix(p, "/") == h.SocketPath:
		return socketPlace, true
	}
	p = caddyhttp.CleanPath(p, true)
	bare := strings.TrimSuffix(p, "/")
	switch {
	case p == h.PublishPath:
		return publishPlace, true
	case bare == h.SocketPath:
		return socketPlace, true
	case h.docsPage != nil && bare == h.DocsPath:
		return docsPagePlace, true
	case strings.EqualFold(bare, h.PublishPath):
		return publishPlace, false
	case strings.EqualFold(bare, h.SocketPath):
		return socketPlace, false
	}
	return notOurs, false
}

// path returns the path at which a place is served.
func (h *Handler) path(p place) string {
	switch p {
	case publishPlace:
		return h.PublishPath
	case socketPlace:
		return h.SocketPath + "/"
	default:
		return h.DocsPath
	}
}

// redirect answers a request for another spelling of one of the handler's
// paths. Clients that follow it come back with the same method and body, past
// everything that guards the path.
func (h *Handler) redirect(w http.ResponseWriter, r *http.Request, to place) {
	right := h.path(to)
	asked := originalURL(r)
	if asked == nil {
		asked = r.URL
	}
	prefix, ok := lostPrefix(r)
	if !ok {
		h.refuse(w, r, apierr.OtherSpelling(asked.Path, right))
		return
	}
	right = prefix + right
	location := url.URL{Path: right, RawQuery: asked.RawQuery}
	w.Header().Set("Location", location.String())
	e := apierr.OtherSpelling(asked.Path, right)
	e.Status = http.StatusPermanentRedirect
	h.refuse(w, r, e)
}

// lostPrefix returns what handle_path and its like took away before the path,
// "" for nothing. ok is false where the path was changed in another way.
func lostPrefix(r *http.Request) (prefix string, ok bool) {
	original := originalURL(r)
	if original == nil {
		return "", true
	}
	// Both without the part in which spellings differ.
	cut := func(p string) string { return strings.TrimSuffix(caddyhttp.CleanPath(p, true), "/") }
	return strings.CutSuffix(cut(original.Path), cut(r.URL.Path))
}

// originalURL returns the URL as the client sent it, nil if it is not known.
func originalURL(r *http.Request) *url.URL {
	original, _ := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	return original.URL
}

// restored returns the request with the URL as the client sent it.
func restored(r *http.Request, original *url.URL) *http.Request {
	r = r.WithContext(r.Context())
	r.URL = original
	r.RequestURI = original.RequestURI()
	return r
}
