package site

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// A Placement is what a server's routes mean for one of our handlers in them:
// whether requests reach it, and whether it may serve paths that a rewrite
// took away.
type Placement struct {
	// OriginalCounts reports that requests reach the handler with another path
	// than the client's, and that no guard in between would have matched the
	// client's path. If one would, it must not be bypassed: the current path
	// counts.
	OriginalCounts bool

	Misplacements []Misplacement
}

// A Misplacement is a mistake in the configuration.
type Misplacement struct {
	Message   string
	Site      string
	Paths     []string
	Directive string // that is in the way
	Fix       string // lines of a Caddyfile
}

// LogMisplaced logs the misplacements of handlers.
func LogMisplaced(logger *zap.Logger, placements []func() Placement) {
	logged := make(map[[2]string]bool) // a site may have the same directive twice
	for _, placement := range placements {
		for _, m := range placement().Misplacements {
			if key := [2]string{m.Site, m.Fix}; !logged[key] {
				logged[key] = true
				m.log(logger)
			}
		}
	}
}

func (m *Misplacement) log(logger *zap.Logger) {
	logger.Warn(m.Message, zap.String("site", m.Site), zap.Strings("paths", m.Paths),
		zap.String("directive", m.Directive), zap.String("fix", m.Fix))
}

// A Placed handler is one of ours.
type Placed interface {
	caddyhttp.MiddlewareHandler

	// Directive returns the handler's name in a Caddyfile.
	Directive() string

	// Trials returns requests for each path of the handler.
	Trials() []Trial

	// Owns reports whether a path is the handler's.
	Owns(path string) bool

	// OwnsTree reports whether the handler also owns paths below those of its
	// trials.
	OwnsTree() bool

	// Patterns returns the patterns of a path matcher for the handler's requests.
	Patterns() []string

	// LinesBelow returns the directive with its paths below a prefix, as lines
	// of a Caddyfile. prefix is "" if it is not known which paths reach the
	// handler.
	LinesBelow(prefix string) string
}

// A Trial is a request that a handler of ours is meant to serve.
type Trial struct {
	Method, Path string

	// Silent trials cause no misplacement: another trial reports it.
	Silent bool
}

// PlacementOf returns a handler's placement. It does no I/O. What depends on a
// real request may be either way, and is no mistake. A configuration that it
// does not understand yields the zero Placement: the current path counts, and
// nothing is reported.
func PlacementOf(server *caddyhttp.Server, h Placed) (found Placement) {
	defer func() {
		if recover() != nil { // a module that expects a real request
			found = Placement{}
		}
	}()
	named := namedRoutes(server)
	found.OriginalCounts = true
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
			return Placement{}
		}
		found.OriginalCounts = found.OriginalCounts && here.OriginalCounts
		found.Misplacements = append(found.Misplacements, here.Misplacements...)
	}
	found.OriginalCounts = found.OriginalCounts && somewhere
	return found
}

// MayReach reports whether a GET request for a host and path may reach a
// handler. It takes matchers that depend on a real request to match.
func MayReach(server *caddyhttp.Server, h Placed, host, path string) (may bool) {
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
