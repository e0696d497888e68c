package site

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A survey finds a handler's placement in one of the server's top-level routes,
// which is a site.
type survey struct {
	server *caddyhttp.Server
	target Placed
	named  map[string]caddyhttp.RouteList

	around   map[*caddyhttp.Route]bool // routes that contain the target
	hosts    []string                  // matched by these routes
	others   []string                  // hosts that any matcher in the site names
	prefixes []string                  // of paths matched by these routes
	ours     []Placed                  // all our handlers in the site
	steps    int                       // so far
}

// Named routes can invoke themselves, which Caddy follows until its stack overflows.
// These limits bound the depth and the steps of a survey.
const (
	maxRouteDepth = 32
	maxSteps      = 1_000_000
)

// locate finds the target in a route and records the routes around it. hosted
// reports whether one of them matches specific hosts.
func (s *survey) locate(route *caddyhttp.Route, depth int) (found, hosted bool) {
	if s.steps++; s.steps > maxSteps {
		return false, false
	}
	for _, handler := range route.Handlers {
		if h, ok := handler.(Placed); ok {
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

// nameHosts records the hosts that matchers name in the site, and in routes that do
// not match specific hosts: a site for any host can have several routes.
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

// inside returns the routes in a handler, and whether its type can contain any.
func (s *survey) inside(handler caddyhttp.MiddlewareHandler) (caddyhttp.RouteList, bool) {
	switch h := handler.(type) {
	case *caddyhttp.Subroute:
		return h.Routes, true
	case *caddyhttp.Invoke:
		return s.named[h.Name], true
	}
	return nil, false
}

// note records the hosts and path prefixes matched by a route around the target, and
// reports whether its hosts are known. The innermost hosts count; a named route can
// be invoked for different hosts in different places.
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

// place runs every trial through the routes.
func (s *survey) place() (found Placement) {
	hosts := s.hosts
	if len(hosts) == 0 {
		hosts = []string{"any.invalid"} // a host of no other site
	}
	tried := slices.Clone(hosts)
	for _, host := range s.others { // a guard can apply to a single host
		if !slices.Contains(tried, host) {
			tried = append(tried, host)
		}
	}
	type lost struct {
		Trial
		end *ending
	}
	var missing []lost
	var blind *ending
	reached, byOriginal := 0, false
	for _, each := range s.target.Trials() {
		var end *ending
		arrived := false
		for i, host := range tried {
			for _, path := range s.candidates(each.Path) {
				w := newWalk(s, each.Method, strings.ReplaceAll(host, "*", "any"), path)
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
				break // the handler works, whatever the other hosts do
			}
		}
		switch {
		case each.Silent:
		case arrived:
			reached++
		default:
			missing = append(missing, lost{each, end})
		}
	}
	found.OriginalCounts = byOriginal && blind == nil
	if blind != nil {
		found.Misplacements = append(found.Misplacements, s.blinded(blind))
	}
	for _, l := range missing {
		if s.meant(l.Trial, l.end, hosts, reached > 0) {
			continue
		}
		warning := s.obstructed(l.Path, l.end)
		if i := slices.IndexFunc(found.Misplacements, func(m Misplacement) bool { return m.Fix == warning.Fix }); i >= 0 {
			found.Misplacements[i].Paths = append(found.Misplacements[i].Paths, l.Path)
			continue
		}
		found.Misplacements = append(found.Misplacements, warning)
	}
	return found
}

// candidates returns paths that can be the handler's after a route around it has
// stripped a prefix.
func (s *survey) candidates(path string) []string {
	all := []string{path}
	for _, prefix := range s.prefixes {
		if candidate := prefix + path; !slices.Contains(all, candidate) && len(all) < 8 {
			all = append(all, candidate)
		}
	}
	return all
}

// meant reports whether the configuration deliberately leaves a path unserved: it
// refuses the path by name, or excludes it from the handler's requests.
func (s *survey) meant(p Trial, end *ending, hosts []string, others bool) bool {
	if end != nil && (end.ours || end.refusal && end.named) {
		return true
	}
	return others && s.excludes(p, hosts)
}

// excludes reports whether a matcher around the handler excludes a path.
func (s *survey) excludes(p Trial, hosts []string) bool {
	r := newRequest(p.Method, strings.ReplaceAll(hosts[0], "*", "any"), p.Path)
	for route := range s.around {
		if evalSets(route.MatcherSets, r, evalMode{onlyPaths: true}) == no {
			return true
		}
	}
	return false
}
