package realtime

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unique"

	"github.com/seed-c079cc48/caddy-realtime/internal/site"
)

// An endpoint is where a session was opened, apart from the host: the server's
// listeners and the path that the client requested. Sessions share it.
type endpoint struct{ listen, path string }

// siteOrigins holds the sites of the running configurations, of which there are
// two during a reload, and the origins that each site allows. Its methods are safe
// for concurrent use.
type siteOrigins struct {
	handlers []*Handler

	// known caches serving, which every CONNECT calls. Clients choose their host,
	// so the number of entries is bounded.
	known   sync.Map // address → []*Handler
	entries atomic.Int32
}

type address struct {
	host     string
	endpoint unique.Handle[endpoint]
}

// maxKnownSites bounds the entries of siteOrigins.known.
const maxKnownSites = 1000

// any reports whether all sites allow any origin.
func (s *siteOrigins) any() bool {
	return !slices.ContainsFunc(s.handlers, func(h *Handler) bool { return !h.origins.Any() })
}

// allow reports whether a site that may serve the session's address allows its
// client's origin. If no site serves the address anymore, it may have moved to any
// site, so the origin is checked against all of them.
func (s *siteOrigins) allow(v *visitor) bool {
	if len(s.handlers) == 0 || v.origin == nil {
		return true
	}
	r := v.request()
	allowed := 0
	for _, h := range s.handlers {
		if h.origins.Allows(r) {
			allowed++
		}
	}
	if allowed == 0 || allowed == len(s.handlers) {
		return allowed > 0
	}
	serving := s.serving(address{v.site.host, v.endpoint})
	return len(serving) == 0 || slices.ContainsFunc(serving, func(h *Handler) bool { return h.origins.Allows(r) })
}

// serving returns the sites that may serve an address.
func (s *siteOrigins) serving(at address) []*Handler {
	if known, ok := s.known.Load(at); ok {
		return known.([]*Handler)
	}
	var serving []*Handler
	for _, h := range s.handlers {
		if h.mayServe(at) {
			serving = append(serving, h)
		}
	}
	if s.entries.Add(1) <= maxKnownSites {
		s.known.Store(at, serving)
	}
	return serving
}

// endpoint returns the endpoint at which a request for the socket path arrived.
func (h *Handler) endpoint(r *http.Request) unique.Handle[endpoint] {
	at := endpoint{path: h.path(socketPlace)}
	if h.server != nil {
		at.listen = strings.Join(h.server.Listen, "\n")
	}
	if original := site.OriginalURL(r); original != nil {
		if found, _ := h.find(original.Path); found != socketPlace { // rewritten, or a prefix was cut off
			at.path = clip(original.Path)
		}
	}
	return unique.Make(at)
}

// mayServe reports whether requests for an address may reach the handler.
func (h *Handler) mayServe(at address) bool {
	if h.server == nil || at.endpoint == (unique.Handle[endpoint]{}) {
		return true
	}
	opened := at.endpoint.Value()
	listens := slices.ContainsFunc(strings.Split(opened.listen, "\n"), func(was string) bool {
		return slices.ContainsFunc(h.server.Listen, func(is string) bool { return site.Overlap(was, is) })
	})
	return listens && site.MayReach(h.server, h, at.host, opened.path)
}

// useSites applies the sites of the running configurations. It disconnects sockets
// whose origin is no longer allowed where they connected, like those of a revoked
// key. The caller must hold mu.
func (rt *runtime) useSites() {
	sites := new(siteOrigins)
	for _, config := range rt.configs {
		sites.handlers = append(sites.handlers, config.handlers...)
	}
	rt.sites.Store(sites) // first: a socket that is connecting either sees it or is found below
	if sites.any() {
		return
	}
	for _, sock := range rt.sockets.all() {
		if !sites.allow(sock.visitor) {
			sock.disconnect("origin withdrawn")
		}
	}
}
