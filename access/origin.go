package access

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// Origins are the web origins that can use a site, or an app, from a browser.
// The zero value allows any. It is immutable once parsed.
//
// A page of the site itself (Origin and Host match) is always allowed, and so
// is a request without Origin: it is not from a browser, or browsers do not
// hide its answer.
type Origins struct {
	list  []string            // as configured; empty or "*": any
	exact map[string]struct{} // normalised; with "null" if that is listed
	wild  []wildOrigin
}

// wildOrigin is scheme://*.domain[:port]: all subdomains at any depth, but not
// the domain itself.
type wildOrigin struct {
	scheme, suffix, port string
}

// ParseOrigins parses a list of origins, for example
// https://app.example.com:8443, https://*.example.org or null (a sandboxed
// frame, a file). An empty list and "*" allow any origin.
func ParseOrigins(list []string) (*Origins, error) {
	o := &Origins{list: list, exact: make(map[string]struct{}, len(list))}
	for i, s := range list {
		if slices.Contains(list[:i], s) {
			return nil, fmt.Errorf("duplicate origin %s; remove one", originText(s))
		}
		switch s {
		case "*":
			if len(list) > 1 {
				return nil, errors.New(`"*" allows any origin; remove it or the others`)
			}
			continue
		case "null":
			o.exact[s] = struct{}{}
			continue
		}
		scheme, host, port, err := splitOrigin(s)
		if err != nil {
			return nil, err
		}
		if rest, ok := strings.CutPrefix(host, "*."); ok {
			o.wild = append(o.wild, wildOrigin{scheme, "." + rest, port})
			host = rest
		} else {
			o.exact[joinOrigin(scheme, host, port)] = struct{}{}
		}
		if strings.Contains(host, "*") {
			return nil, fmt.Errorf("the origin %s has a wildcard that is not the whole first label; "+
				"write %s://*.example.com for all subdomains, or * alone for any origin", originText(s), scheme)
		}
	}
	return o, nil
}

// Any reports whether every origin is allowed.
func (o *Origins) Any() bool {
	return len(o.list) == 0 || o.list[0] == "*"
}

// Allows reports whether the request's origin is allowed.
func (o *Origins) Allows(r *http.Request) bool {
	values := r.Header["Origin"]
	if len(values) == 0 || o.Any() {
		return true
	}
	if len(values) > 1 {
		return false // no browser does that: an attacker hopes we check only one
	}
	if _, ok := o.exact[values[0]]; ok {
		return true
	}
	scheme, host, port, problem := readOrigin(values[0])
	if problem != nil {
		return false
	}
	if isSameHost(r.Host, scheme, host, port) {
		return true
	}
	if _, ok := o.exact[joinOrigin(scheme, host, port)]; ok {
		return true
	}
	return slices.ContainsFunc(o.wild, func(w wildOrigin) bool {
		return w.scheme == scheme && w.port == port && len(host) > len(w.suffix) && strings.HasSuffix(host, w.suffix)
	})
}

// isSameHost compares hosts, not schemes: a proxy in front may terminate TLS.
func isSameHost(requestHost, scheme, host, port string) bool {
	if scheme != "http" && scheme != "https" {
		return false
	}
	_, h, p, problem := readOrigin(scheme + "://" + requestHost)
	return problem == nil && h == host && p == port
}

// originProblem says why a text is not an origin. write is what its author
// probably meant, if that is clear.
type originProblem struct{ what, write string }

// splitOrigin is readOrigin for configured origins: its error suggests what to
// write, if that would be accepted.
func splitOrigin(s string) (scheme, host, port string, err error) {
	scheme, host, port, problem := readOrigin(s)
	if problem == nil {
		return scheme, host, port, nil
	}
	advice := ""
	if parts := strings.Fields(problem.write); len(parts) > 0 && len(problem.write) <= maxOriginText && text.MaskKeys(s) == s {
		advice = "; write " + problem.write
		for _, part := range parts {
			_, host, _, bad := readOrigin(part)
			if bad != nil || strings.Contains(strings.TrimPrefix(host, "*."), "*") {
				advice = ""
			}
		}
	}
	return "", "", "", fmt.Errorf("the origin %s %s%s", originText(s), problem.what, advice)
}

// readOrigin splits scheme://host[:port] into its parts, normalised as a
// browser writes them: lower case, no default port. Only the schemes of apps
// and files can have no host, or a dot instead: file://, app://.
func readOrigin(s string) (scheme, host, port string, problem *originProblem) {
	bad := func(what, write string) (string, string, string, *originProblem) {
		return "", "", "", &originProblem{what, write}
	}
	s = lower(s)
	if strings.Contains(s, ",") {
		return bad("has a comma; separate origins without it", strings.Join(splitCommas(s), " "))
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "" {
		return bad("has no scheme", "https://"+s)
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return bad("has more than scheme://host[:port]", scheme+"://"+rest[:i])
	}
	host = rest
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.HasSuffix(rest, "]") {
		host, port = rest[:i], rest[i+1:]
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return bad("has a bad port; a port is a number from 1 to 65535", "")
		}
		port = strconv.FormatUint(n, 10)
	}
	if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		port = ""
	}
	isWeb := scheme == "http" || scheme == "https"
	valid := isScheme(scheme)
	switch {
	case host == "" || host == ".":
		valid = valid && !isWeb && port == ""
	case strings.HasPrefix(host, "["):
		host = addressHost(host)
		valid = valid && host != ""
	default:
		valid = valid && isHost(strings.TrimSuffix(host, "."))
	}
	if !valid {
		return bad("is not scheme://host[:port]; it has to be as the browser sends it, with international names as xn--…", "")
	}
	return scheme, host, port, nil
}

// splitCommas returns the distinct texts between the commas.
func splitCommas(s string) []string {
	var parts []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" && !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return parts
}

func joinOrigin(scheme, host, port string) string {
	if port != "" {
		port = ":" + port
	}
	return scheme + "://" + host + port
}

// isScheme also accepts the schemes of apps: capacitor, chrome-extension,
// tauri.
func isScheme(s string) bool {
	for i, c := range []byte(s) {
		isLetter := 'a' <= c && c <= 'z'
		isOther := '0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'
		if !isLetter && (i == 0 || !isOther) {
			return false
		}
	}
	return s != ""
}

// addressHost returns an IPv6 address in brackets in its canonical form, or ""
// if s is not one.
func addressHost(s string) string {
	inner, closed := strings.CutSuffix(s[1:], "]")
	ip, err := netip.ParseAddr(inner)
	if !closed || err != nil || !ip.Is6() || ip.Zone() != "" {
		return ""
	}
	return "[" + ip.String() + "]"
}

// lower changes only ASCII letters: strings.ToLower turns the Kelvin sign into
// a k, which is another host.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

func isHost(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return false
		}
		for _, c := range []byte(label) {
			isLetter := 'a' <= c && c <= 'z'
			isOther := '0' <= c && c <= '9' || c == '-' || c == '_' || c == '*'
			if !isLetter && !isOther {
				return false
			}
		}
	}
	return true
}

// maxOriginText bounds how much of an origin messages and logs repeat, in bytes.
const maxOriginText = 256

// originText formats an origin for messages and logs.
func originText(s string) string {
	s = text.MaskKeys(s)
	return strconv.Quote(strings.ToValidUTF8(s[:min(len(s), maxOriginText)], ""))
}

// listable returns the request's origin if it can be listed as it is.
func listable(r *http.Request) (origin string, ok bool) {
	values := r.Header["Origin"]
	if len(values) != 1 || len(values[0]) > maxOriginText || strings.Contains(values[0], "*") || text.MaskKeys(values[0]) != values[0] {
		return "", false
	}
	_, _, _, err := splitOrigin(values[0]) //nolint:dogsled // only whether it can be read matters
	return values[0], err == nil || values[0] == "null"
}

// SiteOriginError refuses an origin that the site does not list. It names the
// cure, but not the other listed origins: unauthenticated clients read it.
func SiteOriginError(r *http.Request) *apierr.Error {
	if origin, ok := listable(r); ok {
		return apierr.OriginNotAllowed("This site does not allow the origin %s. Add it to realtime's origins in the Caddyfile: origins … %s",
			originText(origin), origin)
	}
	return apierr.OriginNotAllowed("This site does not allow the origin %s. %s", originText(r.Header.Get("Origin")), notListable)
}

// appOriginError refuses an origin that the site allows but the app does not.
func appOriginError(r *http.Request) *apierr.Error {
	if origin, ok := listable(r); ok {
		return apierr.OriginNotAllowed("This app does not allow the origin %s. Add it to the app's allowed origins, in the portal or through the admin API.",
			originText(origin))
	}
	return apierr.OriginNotAllowed("This app does not allow the origin %s. %s", originText(r.Header.Get("Origin")), notListable)
}

const notListable = "No browser sends it so, and it cannot be listed. Send one Origin header with scheme://host[:port], or none."

// maxHost is the longest host name with a port.
const maxHost = 253 + len(":65535")

// SiteOrigin returns the origin that a client used to address the site. It
// returns false for a Host that is not a host name or IP address with an
// optional port: a site that accepts every host gets whatever a client sends,
// and people paste the origin into a shell.
func SiteOrigin(host string, secure bool) (string, bool) {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	if len(host) > maxHost || strings.Contains(host, "*") {
		return "", false
	}
	_, name, port, err := splitOrigin(scheme + "://" + host)
	if err != nil {
		return "", false
	}
	return joinOrigin(scheme, name, port), true
}

// IsHost reports whether s is a host name, possibly with wildcards.
func IsHost(s string) bool { return isHost(lower(s)) }
