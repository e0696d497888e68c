package site

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// A Placement describes how a server's routes affect one of our handlers: whether
// requests reach it, and whether it may serve a path that a rewrite has replaced.
type Placement struct {
	// OriginalCounts reports that requests reach the handler with a path other
	// than the client's, and that no guard on the way would have matched the
	// client's path. If a guard would, the handler must not bypass it and goes by
	// the current path.
	OriginalCounts bool

	Misplacements []Misplacement
}

// A Misplacement is a configuration mistake that affects a handler's requests.
type Misplacement struct {
	Message   string
	Site      string
	Paths     []string
	Directive string // the directive that interferes
	Fix       string // Caddyfile lines
}

// LogMisplaced logs the misplacements of handlers.
func LogMisplaced(logger *zap.Logger, placements []func() Placement) {
	logged := make(map[[2]string]bool) // a site can contain the same directive twice
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

// A Placed handler is one of our handlers in a site.
type Placed interface {
	caddyhttp.MiddlewareHandler

	// Directive returns the handler's name in a Caddyfile.
	Directive() string

	// Trials returns sample requests for each of the handler's paths.
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

// A Trial is a sample of a request that one of our handlers should serve.
type Trial struct {
	Method, Path string

	// Silent suppresses the misplacement, because another trial reports it.
	Silent bool
}

// PlacementOf returns a handler's placement. It does no I/O. Routes that depend on
// a real request can go either way and are not reported as mistakes. If it does not
// understand the configuration, it returns the zero Placement: the current path
// counts, and nothing is reported.
func PlacementOf(server *caddyhttp.Server, h Placed) (found Placement) {
	defer func() {
		if recover() != nil { // a module expected a real request
			found = Placement{}
		}
	}()
	named := namedRoutes(server)
	found.OriginalCounts = true
	somewhere := false
	for i := range server.Routes { // check each site: several can invoke a named route
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

// MayReach reports whether a GET request for a host and path can reach a handler. It
// assumes that matchers that depend on a real request match.
func MayReach(server *caddyhttp.Server, h Placed, host, path string) (may bool) {
	defer func() {
		if recover() != nil { // a module expected a real request
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
