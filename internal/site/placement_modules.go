package site

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A verdict says whether a request matches, as far as that is known without a real
// one.
type verdict int

const (
	no verdict = iota
	maybe
	yes
)

// An evalMode says what to treat as unknown.
type evalMode struct {
	anyPath   bool // the path
	onlyPaths bool // everything but the path
}

// evalSets evaluates a route's matchers: all matchers of one set must match.
func evalSets(sets caddyhttp.MatcherSets, r *http.Request, mode evalMode) verdict {
	if len(sets) == 0 {
		return yes
	}
	best := no
	for _, set := range sets {
		best = max(best, evalSet(set, r, mode))
	}
	return best
}

func evalSet(set caddyhttp.MatcherSet, r *http.Request, mode evalMode) verdict {
	worst := yes
	for _, matcher := range set {
		worst = min(worst, evalMatcher(matcher, r, mode))
	}
	return worst
}

func evalMatcher(matcher any, r *http.Request, mode evalMode) verdict {
	known := !mode.onlyPaths
	switch m := matcher.(type) {
	case *caddyhttp.MatchNot:
		worst := yes
		for _, set := range m.MatcherSets {
			worst = min(worst, yes-evalSet(set, r, mode))
		}
		return worst
	case *caddyhttp.MatchPath, *caddyhttp.MatchPathRE:
		known = !mode.anyPath
	case *caddyhttp.MatchHost, *caddyhttp.MatchMethod:
	default:
		return maybe
	}
	if !known {
		return maybe
	}
	m, ok := matcher.(caddyhttp.RequestMatcherWithError)
	if !ok {
		return maybe
	}
	if matched, err := m.MatchWithError(r); err != nil || !matched {
		return no
	}
	return yes
}

// appendHosts appends the hosts that matchers name, including excluded hosts.
func appendHosts(hosts []string, sets caddyhttp.MatcherSets) []string {
	for _, set := range sets {
		for _, matcher := range set {
			switch m := matcher.(type) {
			case *caddyhttp.MatchHost:
				hosts = append(hosts, *m...)
			case *caddyhttp.MatchNot:
				for _, inner := range m.MatcherSets {
					hosts = appendHosts(hosts, caddyhttp.MatcherSets{inner})
				}
			}
		}
	}
	return hosts
}

// isHosted reports whether matchers name specific hosts.
func isHosted(sets caddyhttp.MatcherSets) bool {
	for _, set := range sets {
		for _, matcher := range set {
			if _, ok := matcher.(*caddyhttp.MatchHost); ok {
				return true
			}
		}
	}
	return false
}

// namesPath reports whether a set that can match names the path specifically.
func namesPath(sets caddyhttp.MatcherSets, r *http.Request) bool {
	for _, set := range sets {
		if evalSet(set, r, evalMode{}) == no {
			continue
		}
		for _, matcher := range set {
			switch m := matcher.(type) {
			case *caddyhttp.MatchPathRE:
				return true
			case *caddyhttp.MatchPath:
				if !slices.Contains(*m, "*") && !slices.Contains(*m, "/*") {
					return true
				}
			}
		}
	}
	return false
}

// pathDependent reports whether matchers examine the path.
func pathDependent(sets caddyhttp.MatcherSets) bool {
	for _, set := range sets {
		if slices.ContainsFunc(set, looksAtPath) {
			return true
		}
	}
	return false
}

func looksAtPath(matcher any) bool {
	if not, ok := matcher.(*caddyhttp.MatchNot); ok {
		return slices.ContainsFunc(not.MatcherSets, func(set caddyhttp.MatcherSet) bool { return slices.ContainsFunc(set, looksAtPath) })
	}
	switch moduleID(matcher) {
	case "http.matchers.host", "http.matchers.method", "http.matchers.header", "http.matchers.header_regexp",
		"http.matchers.query", "http.matchers.protocol", "http.matchers.tls", "http.matchers.remote_ip", "http.matchers.client_ip":
		return false
	case "http.matchers.expression":
		m, ok := matcher.(*caddyhttp.MatchExpression)
		return !ok || strings.Contains(strings.ToLower(m.Expr), "path") || readsUnknown(m.Expr)
	case "http.matchers.vars":
		m, ok := matcher.(*caddyhttp.VarsMatcher)
		if !ok {
			return true
		}
		for key := range *m {
			if !strings.HasPrefix(key, "{") || readsUnknown(key) {
				return true
			}
		}
		return false
	}
	return true // among others: file, vars_regexp, and other modules' matchers
}

// readsUnknown reports whether a text contains a placeholder that a rewrite can
// change.
func readsUnknown(text string) bool {
	for _, name := range regexp.MustCompile(`\{([^{}'"\s][^{}]*)\}`).FindAllStringSubmatch(text, -1) {
		if !slices.ContainsFunc([]string{
			"http.request.header.", "http.request.cookie.", "http.request.host", "http.request.method", "http.request.remote",
			"http.request.scheme", "http.request.proto", "http.request.tls.", "http.vars.client_ip", "http.auth.", "env.",
		}, func(prefix string) bool { return strings.HasPrefix(name[1], prefix) }) {
			return true
		}
	}
	return strings.Contains(text, "file(") || strings.Contains(text, "vars")
}

// fallback returns the last file of a try_files, if its name is known.
func fallback(sets caddyhttp.MatcherSets) (path string, ok bool) {
	if len(sets) != 1 || len(sets[0]) != 1 || moduleID(sets[0][0]) != "http.matchers.file" {
		return "", false
	}
	var config struct {
		TryFiles []string `json:"try_files"`
	}
	asJSON(sets[0][0], &config)
	if len(config.TryFiles) == 0 {
		return "", false
	}
	last := config.TryFiles[len(config.TryFiles)-1]
	if strings.ContainsAny(last, "{*=") {
		return "", false
	}
	return "/" + strings.TrimPrefix(last, "/"), true
}

// answers reports whether a handler answers every request itself.
func answers(handler caddyhttp.MiddlewareHandler) bool {
	switch moduleID(handler) {
	case "http.handlers.static_response", "http.handlers.error", "http.handlers.php", "http.handlers.metrics":
		return true
	case "http.handlers.file_server":
		var config struct {
			PassThru bool `json:"pass_thru"`
		}
		asJSON(handler, &config)
		return !config.PassThru
	case "http.handlers.reverse_proxy":
		var config struct {
			HandleResponse []any `json:"handle_response"`
		}
		asJSON(handler, &config)
		return len(config.HandleResponse) == 0 // with handle_response it is a forward_auth
	}
	return false
}

// refuses reports whether a handler responds with an error.
func refuses(handler caddyhttp.MiddlewareHandler) bool {
	response, ok := handler.(*caddyhttp.StaticResponse)
	if !ok {
		return moduleID(handler) == "http.handlers.error"
	}
	return response.Abort || response.StatusCode.Int() >= http.StatusBadRequest
}

// harmless reports whether a handler lets every request through, and so guards
// nothing.
func harmless(handler caddyhttp.MiddlewareHandler) bool {
	switch moduleID(handler) {
	case "http.handlers.headers": // unless it changes request headers, which a matcher can examine
		var config struct {
			Request json.RawMessage `json:"request"`
		}
		asJSON(handler, &config)
		return config.Request == nil
	case "http.handlers.rewrite":
		return !changesMethod(handler) // a matcher can examine the method
	case "http.handlers.encode", "http.handlers.vars", "http.handlers.map",
		"http.handlers.templates", "http.handlers.intercept", "http.handlers.push", "http.handlers.tracing",
		"http.handlers.log_append", "http.handlers.request_body", "http.handlers.timeouts", "http.handlers.file_server",
		"http.handlers.realtime", "http.handlers.realtime_portal":
		return true
	}
	return false
}

// changesMethod reports whether a rewrite sets the method.
func changesMethod(handler caddyhttp.MiddlewareHandler) bool {
	var config struct {
		Method string `json:"method"`
	}
	asJSON(handler, &config)
	return config.Method != ""
}

// directiveOf returns a handler's directive in a Caddyfile.
func directiveOf(handler caddyhttp.MiddlewareHandler) string {
	switch h := handler.(type) {
	case *caddyhttp.Subroute:
		return "handle"
	case *caddyhttp.Invoke:
		return "invoke " + h.Name
	case *caddyhttp.StaticResponse:
		switch {
		case h.Abort:
			return "abort"
		case h.Headers.Get("Location") != "":
			return "redir"
		}
		return "respond"
	}
	switch id := moduleID(handler); {
	case id == "http.handlers.rewrite" && changesMethod(handler):
		return "method"
	case id == "http.handlers.authentication":
		return "basic_auth"
	case id == "http.handlers.headers" && !harmless(handler):
		return "request_header"
	default:
		return strings.TrimPrefix(id, "http.handlers.")
	}
}

func moduleID(module any) string {
	if m, ok := module.(caddy.Module); ok {
		return string(m.CaddyModule().ID)
	}
	return ""
}
