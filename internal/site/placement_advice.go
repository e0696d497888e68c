package site

import (
	"fmt"
	"slices"
	"strings"
)

// blinded reports a rewrite that hides the client's paths from a guard that would
// match them.
func (s *survey) blinded(guard *ending) Misplacement {
	paths := s.target.Patterns()
	return Misplacement{
		Message:   s.target.Directive() + " is off for the paths that a rewrite takes away: a directive that guards them looks at the path after the rewrite, and would not guard them",
		Site:      s.site(),
		Paths:     paths,
		Directive: guard.directive,
		Fix:       s.ownBlock(guard.directive + " …"),
	}
}

// obstructed reports a directive that ends requests for a path before the handler.
func (s *survey) obstructed(path string, end *ending) Misplacement {
	m := Misplacement{Site: s.site(), Paths: []string{path}}
	switch {
	case end == nil || end.directive == "": // its own matcher or its block's matches other paths
		m.Message = s.target.Directive() + " never gets requests for its paths: a matcher before it lets none of them through"
		m.Directive = s.target.Directive()
		m.Fix = s.target.LinesBelow(s.below())
	case end.method:
		m.Message = s.target.Directive() + " cannot serve its paths: a directive that comes before it changes the method of requests for them"
		m.Directive = end.directive
		m.Fix = s.otherPaths(end)
	case end.rewritten:
		m.Message = s.target.Directive() + " never gets requests for its paths: they are rewritten, and another directive answers"
		m.Directive = end.answerer()
		m.Fix = s.ownBlock("")
	case end.named:
		m.Message = s.target.Directive() + " never gets requests for its paths: another directive is there for them"
		m.Directive = end.answerer()
		m.Fix = fmt.Sprintf("remove the %s for %s, or give %s other paths", end.directive, path, s.target.Directive())
	default:
		m.Message = s.target.Directive() + " never gets requests for its paths: a directive that comes before it answers every request"
		m.Directive = end.answerer()
		m.Fix = s.otherPaths(end)
	}
	return m
}

func (e *ending) answerer() string {
	if e.within == "" {
		return e.directive
	}
	return e.directive + " with " + e.within
}

// otherPaths returns lines that exclude our paths from a directive.
func (s *survey) otherPaths(end *ending) string {
	matcher := "not path " + strings.Join(s.patterns(), " ")
	if end.matched {
		return matcher + "\n# in the matcher of " + end.directive
	}
	directive := end.directive + " @not_realtime …"
	if name, ok := strings.CutPrefix(end.directive, "invoke "); ok {
		directive = "invoke @not_realtime " + name
	}
	if end.directive == "handle" {
		directive = "handle @not_realtime { … } # or route, if it is one"
	}
	if end.directive == "abort" {
		directive = "abort @not_realtime"
	}
	return "@not_realtime " + matcher + "\n" + directive
}

// ownBlock returns lines that put our paths into their own block.
func (s *survey) ownBlock(guard string) string {
	if guard != "" {
		guard = "\t" + guard + "\n"
	}
	return "@realtime path " + strings.Join(s.patterns(), " ") +
		"\nhandle @realtime {\n" + guard + "\t" + s.target.Directive() + "\n}\nhandle {\n\t# what rewrites and answers all other paths\n}"
}

// below returns a prefix of paths that reach the handler, or "" if none is known.
func (s *survey) below() string {
	if len(s.prefixes) == 0 {
		return ""
	}
	return s.prefixes[0]
}

// patterns returns the path patterns of all our handlers in the site.
func (s *survey) patterns() (all []string) {
	for _, h := range s.ours {
		for _, pattern := range h.Patterns() {
			if !slices.Contains(all, pattern) {
				all = append(all, pattern)
			}
		}
	}
	return all
}

// site returns the site's name in the Caddyfile.
func (s *survey) site() string {
	if len(s.hosts) > 0 {
		return strings.Join(s.hosts, ", ")
	}
	return strings.Join(s.server.Listen, ", ")
}
