package realtime

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/site"
)

// A place is what a handler serves at a path.
type place int

const (
	notOurs place = iota
	publishPlace
	socketPlace
	docsPagePlace
	apiPlace // and everything below it
)

// find returns what the handler serves at a path. Like Caddy's path matchers, it
// resolves dots and merges slashes. exact is false for spellings that a matcher of
// the configured path might not match, or would match only because matchers ignore
// case. These are not served, so that /publish/ cannot bypass a guard of /publish.
func (h *Handler) find(p string) (found place, exact bool) {
	switch { // does not allocate
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
	case h.APIPath != "" && isBelow(p, h.APIPath):
		return apiPlace, true
	case strings.EqualFold(bare, h.PublishPath):
		return publishPlace, false
	case strings.EqualFold(bare, h.SocketPath):
		return socketPlace, false
	case h.APIPath != "" && len(p) >= len(h.APIPath) && strings.EqualFold(p[:len(h.APIPath)], h.APIPath) && isBelow(p, p[:len(h.APIPath)]):
		return apiPlace, false
	}
	return notOurs, false
}

// isBelow reports whether a path is top, or one below it.
func isBelow(p, top string) bool {
	rest, ok := strings.CutPrefix(p, top)
	return ok && (rest == "" || rest[0] == '/')
}

// path returns the path that serves a place.
func (h *Handler) path(p place) string {
	switch p {
	case publishPlace:
		return h.PublishPath
	case socketPlace:
		return h.SocketPath + "/"
	case apiPlace:
		return h.APIPath
	default:
		return h.DocsPath
	}
}

// redirect answers a request that spells one of the handler's paths differently.
// Clients that follow the redirect repeat the method and body, and pass every
// guard of the path.
func (h *Handler) redirect(w http.ResponseWriter, r *http.Request, to place) {
	right := h.path(to)
	asked := site.OriginalURL(r)
	if asked == nil {
		asked = r.URL
	}
	prefix, ok := site.LostPrefix(r)
	if !ok || to == apiPlace { // of which only the beginning is known here
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

// Paths implements site.Gateway.
func (h *Handler) Paths() (publish, socket string) { return h.PublishPath, h.SocketPath }

// Directive implements site.Placed.
func (h *Handler) Directive() string { return "realtime" }

// Trials implements site.Placed.
func (h *Handler) Trials() []site.Trial {
	all := []site.Trial{
		{Method: http.MethodGet, Path: h.SocketPath + "/"},
		{Method: http.MethodPost, Path: h.PublishPath},
		{Method: http.MethodGet, Path: h.SocketPath, Silent: true},
		{Method: http.MethodPost, Path: h.SocketPath + "/", Silent: true},
	}
	if h.docsPage != nil {
		all = append(all, site.Trial{Method: http.MethodGet, Path: h.path(docsPagePlace), Silent: true})
	}
	if h.APIPath != "" {
		all = append(all, site.Trial{Method: http.MethodGet, Path: h.APIPath + "/channels", Silent: true})
	}
	return all
}

// Owns implements site.Placed.
func (h *Handler) Owns(path string) bool { found, _ := h.find(path); return found != notOurs }

// OwnsTree implements site.Placed.
func (h *Handler) OwnsTree() bool { return false }

// Patterns implements site.Placed.
func (h *Handler) Patterns() []string {
	all := []string{h.SocketPath + "*", h.PublishPath + "*"}
	if h.docsPage != nil && h.DocsPath != "" {
		all = append(all, h.DocsPath+"*")
	}
	if h.APIPath != "" {
		all = append(all, h.APIPath+"/*")
	}
	return all
}

// LinesBelow implements site.Placed.
func (h *Handler) LinesBelow(prefix string) string {
	if prefix == "" {
		return "realtime without a matcher, or in no block that has one"
	}
	return fmt.Sprintf("realtime %s/* {\n\tpublish_path %s%s\n\tsocket_path %s%s\n}", prefix, prefix, defaultPublishPath, prefix, defaultSocketPath)
}

// Interface guards
var (
	_ site.Placed  = (*Handler)(nil)
	_ site.Gateway = (*Handler)(nil)
)
