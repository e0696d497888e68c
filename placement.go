package realtime

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// A placement is what the routes of a server say of one of our handlers in
// them: whether its requests reach it, and whether it may serve paths that a
// rewrite took away.
type placement struct {
	// originalCounts says that requests reach the handler with another path
	// than the client's, and that no guard in between would have matched the
	// client's path. If one would, it is not avoided: the current path counts.
	originalCounts bool

	warnings []misplacement
}

// A misplacement is a mistake in the configuration.
type misplacement struct {
	message string
	site    string
	paths   []string
	by      string // the directive that is in the way
	fix     string // lines of a Caddyfile
}

// warnOfMisplaced logs what is wrong with where our directives stand.
func (a *App) warnOfMisplaced() {
	told := make(map[[2]string]bool) // a directive may be in a site twice
	for _, place := range a.placed {
		for _, m := range place().warnings {
			if key := [2]string{m.site, m.fix}; !told[key] {
				told[key] = true
				m.log(a.logger)
			}
		}
	}
}

func (m *misplacement) log(logger *zap.Logger) {
	logger.Warn(m.message, zap.String("site", m.site), zap.Strings("paths", m.paths),
		zap.String("directive", m.by), zap.String("fix", m.fix))
}

// A trial is a request that a handler of ours is there for.
type trial struct {
	method, path string
	silent       bool // another trial tells what is wrong with this one
}

// A placed handler is one of ours.
type placedHandler interface {
	caddyhttp.MiddlewareHandler

	// probes returns requests for each path of the handler.
	trials() []trial
	// owns reports whether the path is the handler's.
	owns(path string) bool
	// patterns returns what a path matcher for its requests matches.
	patterns() []string
	// name returns the directive.
	name() string
}

func (h *Handler) trials() []trial {
	all := []trial{
		{http.MethodGet, h.SocketPath + "/", false},
		{http.MethodPost, h.PublishPath, false},
		{http.MethodGet, h.SocketPath, true},
		{http.MethodPost, h.SocketPath + "/", true},
	}
	if h.docsPage != nil {
		all = append(all, trial{http.MethodGet, h.path(docsPagePlace), true})
	}
	return all
}

func (h *Handler) owns(path string) bool { found, _ := h.find(path); return found != notOurs }
func (h *Handler) name() string          { return "realtime" }

func (h *Handler) patterns() []string {
	all := []string{h.SocketPath + "*", h.PublishPath + "*"}
	if h.docsPage != nil && h.DocsPath != "" {
		all = append(all, h.DocsPath+"*")
	}
	return all
}

func (p *Portal) trials() []trial       { return []trial{{http.MethodGet, p.Path + "/", false}} }
func (p *Portal) owns(path string) bool { _, ours := p.cut(path); return ours }
func (p *Portal) name() string          { return "realtime_portal" }
func (p *Portal) patterns() []string    { return []string{p.Path + "*"} }

// placementOf finds out about a handler's placement. It does no I/O. What it cannot
// know before there is a request may be so or not, and is no mistake. A
// configuration that it does not understand has no placement: the current
// path counts, and there are no warnings.
func placementOf(server *caddyhttp.Server, h placedHandler) (found placement) {
	defer func() {
		if recover() != nil { // a module that expects a real request
			found = placement{}
		}
	}()
	named := namedRoutes(server)
	found.originalCounts = true
	somewhere := false
	for i := range server.Routes { // each site, as several may invoke a named route
		s := survey{server: server, target: h, named: named, around: make(map[*caddyhttp.Route]bool)}
		if found, _ := s.locate(&server.Routes[i], 0); !found && s.steps <= maxSteps {
			continue
		}
		somewhere = true
		s.nameHosts(&server.Routes[i])
		here := s.place()
		if s.steps > maxSteps {
			return placement{}
		}
		found.originalCounts = found.originalCounts && here.originalCounts
		found.warnings = append(found.warnings, here.warnings...)
	}
	found.originalCounts = found.originalCounts && somewhere
	return found
}

// mayReach reports whether a GET for a host and path may reach a handler. What it
// cannot know before there is a request may be so.
func mayReach(server *caddyhttp.Server, h placedHandler, host, path string) (may bool) {
	defer func() {
		if recover() != nil { // a module that expects a real request
			may = true
		}
	}()
	s := survey{server: server, target: h, named: namedRoutes(server), around: make(map[*caddyhttp.Route]bool)}
	w := newWalk(&s, http.MethodGet, host, path)
	w.run()
	return w.arrived || s.steps > maxSteps
}

func namedRoutes(server *caddyhttp.Server) map[string]caddyhttp.RouteList {
	named := make(map[string]caddyhttp.RouteList, len(server.NamedRoutes))
	for name, route := range server.NamedRoutes {
		if route != nil {
			named[name] = caddyhttp.RouteList{*route}
		}
	}
	return named
}

// A survey is what finds out about the placement of a handler in one of the
// server's routes, which is a site.
type survey struct {
	server *caddyhttp.Server
	target placedHandler
	named  map[string]caddyhttp.RouteList

	around   map[*caddyhttp.Route]bool // those that the target is in
	hosts    []string                  // that they match
	others   []string                  // hosts that any matcher in the site names
	prefixes []string                  // of paths that they match
	ours     []placedHandler           // all in the site
	steps    int                       // taken so far
}

// Named routes can invoke themselves, which Caddy follows until the stack is
// full. These bound how far and how often a survey does.
const (
	maxRouteDepth = 32
	maxSteps      = 1_000_000
)

// locate finds the target in a route, and notes what is around it. hosted is
// whether a route in there says for which hosts it is.
func (s *survey) locate(route *caddyhttp.Route, depth int) (found, hosted bool) {
	if s.steps++; s.steps > maxSteps {
		return false, false
	}
	for _, handler := range route.Handlers {
		if h, ok := handler.(placedHandler); ok {
			s.ours = append(s.ours, h)
			found = found || h == s.target
			continue
		}
		if inner, _ := s.inside(handler); depth < maxRouteDepth {
			for i := range inner {
				here, named := s.locate(&inner[i], depth+1)
				found, hosted = found || here, hosted || named
			}
		}
	}
	if found {
		hosted = s.note(route, hosted)
	}
	return found, found && hosted
}

// nameHosts notes the hosts that matchers name in the site, and in routes that
// are not for certain hosts: a site of any host may have several.
func (s *survey) nameHosts(site *caddyhttp.Route) {
	for i := range s.server.Routes {
		route := &s.server.Routes[i]
		if route == site || !isHosted(route.MatcherSets) {
			s.nameHostsIn(route, 0)
		}
	}
}

func (s *survey) nameHostsIn(route *caddyhttp.Route, depth int) {
	if s.steps++; s.steps > maxSteps || depth > maxRouteDepth {
		return
	}
	s.others = appendHosts(s.others, route.MatcherSets)
	for _, handler := range route.Handlers {
		inner, _ := s.inside(handler)
		for i := range inner {
			s.nameHostsIn(&inner[i], depth+1)
		}
	}
}

// inside returns the routes in a handler, and whether it is one that has some.
func (s *survey) inside(handler caddyhttp.MiddlewareHandler) (caddyhttp.RouteList, bool) {
	switch h := handler.(type) {
	case *caddyhttp.Subroute:
		return h.Routes, true
	case *caddyhttp.Invoke:
		return s.named[h.Name], true
	}
	return nil, false
}

// note keeps the hosts and the prefixes of paths that a route around the
// target matches, and reports whether its hosts are known. The innermost are
// those that count; a named route can be invoked for some here and others there.
func (s *survey) note(route *caddyhttp.Route, hosted bool) bool {
	var hosts []string
	for _, set := range route.MatcherSets {
		for _, matcher := range set {
			switch m := matcher.(type) {
			case *caddyhttp.MatchHost:
				hosts = append(hosts, *m...)
			case *caddyhttp.MatchPath:
				if s.around[route] {
					continue
				}
				for _, pattern := range *m {
					if prefix := strings.TrimSuffix(strings.TrimSuffix(pattern, "*"), "/"); prefix != "" && !strings.ContainsAny(prefix, "*?[{") {
						s.prefixes = append(s.prefixes, prefix)
					}
				}
			}
		}
	}
	if !hosted && !s.around[route] {
		s.hosts = append(s.hosts, hosts...)
	}
	s.around[route] = true
	return hosted || len(hosts) > 0
}

// place sends every trial past the routes.
func (s *survey) place() (found placement) {
	hosts := s.hosts
	if len(hosts) == 0 {
		hosts = []string{"any.invalid"} // which is no other site
	}
	tried := slices.Clone(hosts)
	for _, host := range s.others { // a guard may be for one of them alone
		if !slices.Contains(tried, host) {
			tried = append(tried, host)
		}
	}
	type lost struct {
		trial
		end *ending
	}
	var missing []lost
	var blind *ending
	reached, byOriginal, told := 0, false, 0
	for _, each := range s.trials() {
		var end *ending
		arrived := false
		for i, host := range tried {
			for _, path := range s.candidates(each.path) {
				w := newWalk(s, each.method, strings.ReplaceAll(host, "*", "any"), path)
				stop := w.run()
				if w.byOriginal {
					byOriginal = true
					if blind == nil {
						blind = w.blind
					}
				}
				arrived = arrived || w.arrived
				if i < len(hosts) && (end == nil || end.directive == "") {
					end = stop
				}
			}
			if arrived && !byOriginal {
				break // whatever the other hosts do, the handler has a use
			}
		}
		switch {
		case each.silent:
		case arrived:
			told++
			reached++
		default:
			told++
			missing = append(missing, lost{each, end})
		}
	}
	found.originalCounts = byOriginal && blind == nil
	if blind != nil {
		found.warnings = append(found.warnings, s.blinded(blind))
	}
	for _, l := range missing {
		if s.meant(l.trial, l.end, hosts, reached > 0) {
			continue
		}
		warning := s.obstructed(l.path, l.end)
		if i := slices.IndexFunc(found.warnings, func(m misplacement) bool { return m.fix == warning.fix }); i >= 0 {
			found.warnings[i].paths = append(found.warnings[i].paths, l.path)
			continue
		}
		found.warnings = append(found.warnings, warning)
	}
	return found
}

func (s *survey) trials() []trial { return s.target.trials() }

// candidates returns paths that may be the handler's once what is around it
// has cut off a prefix.
func (s *survey) candidates(path string) []string {
	all := []string{path}
	for _, prefix := range s.prefixes {
		if candidate := prefix + path; !slices.Contains(all, candidate) && len(all) < 8 {
			all = append(all, candidate)
		}
	}
	return all
}

// meant reports whether who wrote the configuration wants a path not to be
// served: it is refused by its name, or left out of what the handler gets.
func (s *survey) meant(p trial, end *ending, hosts []string, others bool) bool {
	if end != nil && (end.ours || end.refusal && end.named) {
		return true
	}
	return others && s.excludes(p, hosts)
}

// excludes reports whether a matcher around the handler lets a path not pass.
func (s *survey) excludes(p trial, hosts []string) bool {
	r := newRequest(p.method, strings.ReplaceAll(hosts[0], "*", "any"), p.path)
	for route := range s.around {
		if evalSets(route.MatcherSets, r, evalMode{onlyPaths: true}) == no {
			return true
		}
	}
	return false
}
