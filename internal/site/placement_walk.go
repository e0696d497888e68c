package site

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A walk runs a request through a server's routes. For matchers that depend on a real
// request, it follows both outcomes.
type walk struct {
	*survey
	request *http.Request
	method  string // as sent by the client
	path    string // as sent by the client
	groups  map[string]*groupWalk

	arrived    bool    // the request can reach the target
	byOriginal bool    // it can, with a path that is no longer the target's
	blind      *ending // the guard that would have matched an earlier path
}

// A groupWalk is the state of a group of routes. Caddy runs only one of a group.
type groupWalk struct {
	taken  bool // one has certainly run
	open   bool // one may have run
	passes bool // the one that may have run may have passed the request on
}

// A passage is a request on its way through the routes.
type passage struct {
	r       *http.Request
	unknown bool     // its path can differ
	past    []string // its earlier paths
	blind   *ending
	method  *ending // the handler that changed its method
}

// An ending is a handler that keeps a request from the routes after it.
type ending struct {
	directive string
	within    string // the directive that answers, if it is in a block
	ours      bool   // one of our handlers answers
	named     bool   // a matcher names the path
	matched   bool   // there is a matcher
	refusal   bool   // it responds with an error
	method    bool   // it does not answer, but changes the method
	rewritten bool   // its matchers do not see the client's path
}

func newWalk(s *survey, method, host, path string) *walk {
	return &walk{survey: s, request: newRequest(method, host, path), method: method, path: path, groups: make(map[string]*groupWalk)}
}

// newRequest returns a request with the context that Caddy's matchers and rewrites
// expect.
func newRequest(method, host, path string) *http.Request {
	r := &http.Request{
		Method: method, Host: host, RequestURI: path, URL: &url.URL{Path: path},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header), Body: http.NoBody, RemoteAddr: "127.0.0.1:1",
	}
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, nil)
}

// run returns the ending of the request, or nil if it passes all routes.
func (w *walk) run() *ending {
	return w.pass(w.server.Routes, &passage{r: w.request}, 0)
}

// pass runs a request through routes.
func (w *walk) pass(routes caddyhttp.RouteList, p *passage, depth int) *ending {
	if depth > maxRouteDepth {
		return nil
	}
	for i := range routes {
		if w.steps++; w.steps > maxSteps {
			return nil
		}
		route := &routes[i]
		group := w.group(route)
		if group != nil && group.taken {
			continue
		}
		w.lookAhead(route, p)
		match := w.match(route, p)
		if match == no {
			continue
		}
		sure := match == yes && (group == nil || !group.open)
		q := p
		if !sure {
			q = p.fork()
		}
		end := w.handle(route, q, depth)
		if group != nil {
			group.taken = group.taken || match == yes
			group.open = true
			group.passes = group.passes || end == nil
		}
		if end != nil && (sure || match == yes && group != nil && !group.passes) {
			return end
		}
		if !sure {
			p.join(q)
		}
		if sure && route.Terminal {
			return &ending{}
		}
	}
	return nil
}

// group returns the route's group, or nil if it has none.
func (w *walk) group(route *caddyhttp.Route) *groupWalk {
	if route.Group == "" {
		return nil
	}
	if w.groups[route.Group] == nil {
		w.groups[route.Group] = new(groupWalk)
	}
	return w.groups[route.Group]
}

// match evaluates a route's matchers.
func (w *walk) match(route *caddyhttp.Route, p *passage) verdict {
	match := evalSets(route.MatcherSets, p.r, evalMode{anyPath: p.unknown})
	if match == maybe {
		if file, ok := fallback(route.MatcherSets); ok { // try_files, assuming that its last file exists
			repl, _ := p.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
			repl.Set("http.matchers.file.relative", file)
			return yes
		}
	}
	return match
}

// lookAhead records a guard that would have matched an earlier path of the request
// but no longer sees it.
func (w *walk) lookAhead(route *caddyhttp.Route, p *passage) {
	if p.blind == nil && (len(p.past) > 0 || p.unknown) {
		p.blind = w.blindGuard(route, p, 0)
	}
}

// blindGuard returns the guard in a route that no longer sees the path, or nil.
func (w *walk) blindGuard(route *caddyhttp.Route, p *passage, depth int) *ending {
	w.steps++
	if w.around[route] || depth > maxRouteDepth || !w.guards(route, depth) {
		return nil
	}
	match := evalSets(route.MatcherSets, p.r, evalMode{anyPath: p.unknown})
	if !pathDependent(route.MatcherSets) {
		if match != no && depth == 0 {
			return nil // the walk enters it
		}
		return w.blindGuardInside(route, p, depth) // for other hosts or methods
	}
	if match == yes {
		return nil
	}
	for _, path := range append(p.past, p.r.URL.Path) {
		r := newRequest(p.r.Method, p.r.Host, path)
		if evalSets(route.MatcherSets, r, evalMode{anyPath: w.target.OwnsTree(), onlyPaths: true}) != no {
			return w.ending(route, route.Handlers[0], p)
		}
	}
	return nil
}

// blindGuardInside is blindGuard for the routes inside a route.
func (w *walk) blindGuardInside(route *caddyhttp.Route, p *passage, depth int) *ending {
	for _, handler := range route.Handlers {
		inner, _ := w.inside(handler)
		for i := range inner {
			if blind := w.blindGuard(&inner[i], p, depth+1); blind != nil {
				return blind
			}
		}
	}
	return nil
}

// handle runs a request through the handlers of a matching route.
func (w *walk) handle(route *caddyhttp.Route, p *passage, depth int) *ending {
	for _, handler := range route.Handlers {
		if ours, ok := handler.(Placed); ok {
			if end := w.reach(ours, p); end != nil {
				return end
			}
			continue
		}
		if inner, ok := w.inside(handler); ok {
			block := w.ending(route, handler, p) // before the block changes the request
			if end := w.pass(inner, p, depth+1); end != nil {
				if end.ours || w.contains(inner) {
					return end
				}
				return block.around(end)
			}
			continue
		}
		if rewrite, ok := handler.(interface {
			Rewrite(*http.Request, *caddy.Replacer) bool
		}); ok {
			before := p.r.Method
			p.rewrite(rewrite.Rewrite, handler)
			if p.r.Method != before {
				p.method = w.ending(route, handler, p)
				p.method.method = true
			}
			continue
		}
		if answers(handler) {
			return w.ending(route, handler, p)
		}
	}
	return nil
}

// reach records that a request has arrived at one of our handlers. It returns the
// ending if the handler may answer.
func (w *walk) reach(h Placed, p *passage) *ending {
	current, original := h.Owns(p.r.URL.Path), h.Owns(w.path)
	if !current && !original {
		return nil
	}
	if h != w.target {
		return &ending{ours: true}
	}
	if original && (!current || p.unknown) {
		w.byOriginal = true
		if w.blind == nil {
			w.blind = p.blind
		}
	}
	if p.method != nil && p.r.Method != w.method {
		return p.method
	}
	w.arrived = true
	return &ending{ours: true}
}

func (w *walk) ending(route *caddyhttp.Route, handler caddyhttp.MiddlewareHandler, p *passage) *ending {
	rewritten := p.unknown || len(p.past) > 0 && !w.keepsPath(p.r.URL.Path)
	return &ending{
		directive: directiveOf(handler),
		named:     !rewritten && namesPath(route.MatcherSets, p.r),
		matched:   len(route.MatcherSets) > 0,
		refusal:   refuses(handler),
		rewritten: rewritten,
	}
}

// around returns the ending of a block in which inner ends the request.
func (e *ending) around(inner *ending) *ending {
	e.within = cmp.Or(inner.within, inner.directive)
	e.named = e.named || inner.named && !inner.rewritten
	e.refusal = inner.refusal
	return e
}

// contains reports whether routes contain the target.
func (s *survey) contains(routes caddyhttp.RouteList) bool {
	for i := range routes {
		if s.around[&routes[i]] {
			return true
		}
	}
	return false
}

// keepsPath reports whether a path is the client's, apart from a stripped prefix.
func (w *walk) keepsPath(path string) bool {
	return path != "" && path != "/" && strings.HasSuffix(w.path, path)
}

// guards reports whether a route can refuse a request.
func (w *walk) guards(route *caddyhttp.Route, depth int) bool {
	w.steps++
	return depth > maxRouteDepth || w.steps > maxSteps || slices.ContainsFunc(route.Handlers, func(handler caddyhttp.MiddlewareHandler) bool {
		inner, ok := w.inside(handler)
		if !ok {
			return !harmless(handler)
		}
		for i := range inner {
			if w.guards(&inner[i], depth+1) {
				return true
			}
		}
		return false
	})
}

// rewrite applies a rewrite to the path.
func (p *passage) rewrite(rewrite func(*http.Request, *caddy.Replacer) bool, handler caddyhttp.MiddlewareHandler) {
	before := p.r.URL.Path
	repl, _ := p.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	uri := rewriteURI(handler)
	if rest := strings.NewReplacer("{http.request.", "", "{http.matchers.file.relative}", "").Replace(uri); strings.Contains(rest, "{") {
		p.unknown = true // its placeholders need a real request
	}
	rewrite(p.r, repl)
	if p.unknown || p.r.URL.Path != before {
		p.past = append(p.past, before)
	}
}

// fork returns a copy of the passage, for routes that might not match.
func (p *passage) fork() *passage {
	return &passage{
		r:       newRequest(p.r.Method, p.r.Host, p.r.URL.Path),
		unknown: p.unknown,
		past:    slices.Clone(p.past),
		blind:   p.blind,
		method:  p.method,
	}
}

// join adds the possible paths of a fork.
func (p *passage) join(q *passage) {
	if q.unknown || q.r.URL.Path != p.r.URL.Path {
		p.unknown = true
		for _, path := range append(q.past, q.r.URL.Path) {
			if !slices.Contains(p.past, path) {
				p.past = append(p.past, path)
			}
		}
	}
	if p.blind == nil {
		p.blind = q.blind
	}
}

// rewriteURI returns what a rewrite sets the URI to.
func rewriteURI(handler caddyhttp.MiddlewareHandler) string {
	var config struct {
		URI string `json:"uri"`
	}
	asJSON(handler, &config)
	return config.URI
}

// asJSON decodes the fields of a module whose package may be missing from this build.
func asJSON(module, into any) {
	if data, err := json.Marshal(module); err == nil {
		_ = json.Unmarshal(data, into)
	}
}
