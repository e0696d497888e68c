package realtime

import (
	"fmt"
	"slices"
	"strings"
)

// blinded is for a handler whose requests get to it only after a rewrite, past
// a guard that looks for their paths.
func (s *survey) blinded(guard *ending) misplacement {
	paths := s.target.patterns()
	return misplacement{
		message: s.target.name() + " is off for the paths that a rewrite takes away: a directive that guards them looks at the path after the rewrite, and would not guard them",
		site:    s.site(),
		paths:   paths,
		by:      guard.directive,
		fix:     s.ownBlock(guard.directive + " …"),
	}
}

// obstructed is for a path that another route answers.
func (s *survey) obstructed(path string, end *ending) misplacement {
	m := misplacement{site: s.site(), paths: []string{path}}
	switch {
	case end == nil || end.directive == "":
		m.message = s.target.name() + " never gets requests for its paths: a matcher before it lets none of them through"
		m.by = s.target.name()
		m.fix = s.matchFix()
	case end.method:
		m.message = s.target.name() + " cannot serve its paths: a directive that comes before it changes the method of requests for them"
		m.by = end.directive
		m.fix = s.otherPaths(end)
	case end.rewritten:
		m.message = s.target.name() + " never gets requests for its paths: they are rewritten, and another directive answers"
		m.by = end.answerer()
		m.fix = s.ownBlock("")
	case end.named:
		m.message = s.target.name() + " never gets requests for its paths: another directive is there for them"
		m.by = end.answerer()
		m.fix = fmt.Sprintf("remove the %s for %s, or give %s other paths", end.directive, path, s.target.name())
	default:
		m.message = s.target.name() + " never gets requests for its paths: a directive that comes before it answers every request"
		m.by = end.answerer()
		m.fix = s.otherPaths(end)
	}
	return m
}

func (e *ending) answerer() string {
	if e.within == "" {
		return e.directive
	}
	return e.directive + " with " + e.within
}

// otherPaths keeps our paths from a directive.
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

// ownBlock gives our paths a block, and all else another.
func (s *survey) ownBlock(guard string) string {
	if guard != "" {
		guard = "\t" + guard + "\n"
	}
	return "@realtime path " + strings.Join(s.patterns(), " ") +
		"\nhandle @realtime {\n" + guard + "\t" + s.target.name() + "\n}\nhandle {\n\t# what rewrites and answers all other paths\n}"
}

// matchFix is for a handler whose own matcher or block is for other paths.
func (s *survey) matchFix() string {
	if _, ok := s.target.(*Portal); ok {
		return "realtime_portal {\n\tpath " + s.below() + defaultPortalPath + "\n}"
	}
	below := s.below()
	if below == "" {
		return "realtime without a matcher, or in no block that has one"
	}
	return fmt.Sprintf("realtime %s/* {\n\tpublish_path %s%s\n\tsocket_path %s%s\n}", below, below, defaultPublishPath, below, defaultSocketPath)
}

// below returns a prefix that gets to the handler.
func (s *survey) below() string {
	if len(s.prefixes) == 0 {
		return ""
	}
	return s.prefixes[0]
}

// patterns returns those of all our handlers in the site.
func (s *survey) patterns() (all []string) {
	for _, h := range s.ours {
		for _, pattern := range h.patterns() {
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
