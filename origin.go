package realtime

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"
)

// origins are the web origins that may use a site, or an app, from a browser.
// The zero value allows any. It is immutable once parsed.
//
// A page of the site itself (Origin and Host agree) is always allowed, and so
// is a request without Origin: that is no browser, or a request that a
// browser does not hide answers of.
type origins struct {
	list  []string            // as configured; empty or "*": any
	exact map[string]struct{} // normalised, and "null" where it is listed
	wild  []wildOrigin
}

// wildOrigin is scheme://*.domain[:port]: every subdomain at any depth, but
// not the domain itself.
type wildOrigin struct {
	scheme, suffix, port string
}

// parseOrigins reads a list such as https://app.example.com:8443,
// https://*.example.org or null (a sandboxed frame, a file). An empty list
// and "*" allow any origin.
func parseOrigins(list []string) (*origins, error) {
	o := &origins{list: list, exact: make(map[string]struct{}, len(list))}
	for i, s := range list {
		if slices.Contains(list[:i], s) {
			return nil, fmt.Errorf("the origin %s is there twice; remove one", originText(s))
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
				"write %s://*.example.com for all subdomains, or * for any origin", originText(s), scheme)
		}
	}
	return o, nil
}

// any reports whether no origin is refused.
func (o *origins) any() bool {
	return len(o.list) == 0 || o.list[0] == "*"
}

// allowed reports whether the request's origin may use what o guards.
func (o *origins) allowed(r *http.Request) bool {
	values := r.Header["Origin"]
	if len(values) == 0 || o.any() {
		return true
	}
	if len(values) > 1 {
		return false // no browser does that: somebody hopes we look at one only
	}
	if _, ok := o.exact[values[0]]; ok {
		return true
	}
	scheme, host, port, err := splitOrigin(values[0])
	if err != nil {
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

// isSameHost compares hosts, not schemes: a proxy before us may end TLS.
func isSameHost(requestHost, scheme, host, port string) bool {
	if scheme != "http" && scheme != "https" {
		return false
	}
	_, h, p, err := splitOrigin(scheme + "://" + requestHost)
	return err == nil && h == host && p == port
}

// splitOrigin takes scheme://host[:port] apart, as a browser would write it:
// lower case, no default port. Its errors are for who configures it.
func splitOrigin(s string) (scheme, host, port string, err error) {
	scheme, rest, ok := strings.Cut(lower(s), "://")
	if !ok || scheme == "" {
		return "", "", "", fmt.Errorf("the origin %s has no scheme; write https://%s", originText(s), s)
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return "", "", "", fmt.Errorf("the origin %s has more than scheme://host[:port]; write %s://%s",
			originText(s), scheme, rest[:i])
	}
	host = rest
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.HasSuffix(rest, "]") {
		host, port = rest[:i], rest[i+1:]
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return "", "", "", fmt.Errorf("the origin %s has a bad port; write a number from 1 to 65535", originText(s))
		}
		port = strconv.FormatUint(n, 10)
	}
	if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		port = ""
	}
	if strings.HasPrefix(host, "[") {
		host = addressHost(host)
	} else if !isHost(host) {
		host = ""
	}
	if !isScheme(scheme) || host == "" {
		return "", "", "", fmt.Errorf("the origin %s is not scheme://host[:port]; "+
			"write it as the browser sends it, international names as xn--…", originText(s))
	}
	return scheme, host, port, nil
}

func joinOrigin(scheme, host, port string) string {
	if port != "" {
		port = ":" + port
	}
	return scheme + "://" + host + port
}

// isScheme takes those of apps too: capacitor, chrome-extension, tauri.
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

// addressHost is an IPv6 address in brackets, written in the one way of many;
// "" for what is none.
func addressHost(s string) string {
	inner, closed := strings.CutSuffix(s[1:], "]")
	ip, err := netip.ParseAddr(inner)
	if !closed || err != nil || !ip.Is6() || ip.Zone() != "" {
		return ""
	}
	return "[" + ip.String() + "]"
}

// lower leaves alone what is not ASCII: strings.ToLower makes a k of the
// Kelvin sign, which is another host.
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

// originText is an origin as messages and logs repeat it.
func originText(s string) string {
	return strconv.Quote(strings.ToValidUTF8(s[:min(len(s), 256)], ""))
}

// refusedOrigins logs each refused origin once, with the line that would
// allow it, so that who forgot one reads it in the log instead of guessing.
// It remembers so many only: strangers choose what comes here.
type refusedOrigins struct {
	mu   sync.Mutex
	seen map[string]struct{}
}

const maxRefusedOrigins = 100

func (l *refusedOrigins) log(logger *zap.Logger, o *origins, r *http.Request) {
	origin := r.Header.Get("Origin")
	if _, _, _, err := splitOrigin(origin); len(origin) > 256 || strings.Contains(origin, "*") || err != nil && origin != "null" {
		return // no browser sent it, and nobody should paste it
	}
	l.mu.Lock()
	_, known := l.seen[origin]
	full := len(l.seen) >= maxRefusedOrigins
	if !known && !full {
		if l.seen == nil {
			l.seen = make(map[string]struct{})
		}
		l.seen[origin] = struct{}{}
	}
	l.mu.Unlock()
	if known || full {
		return
	}
	logger.Warn("refused an origin; to allow it, write this line into the site's realtime block",
		zap.String("origin", origin),
		zap.String("line", "origins "+strings.Join(append(slices.Clone(o.list), origin), " ")))
}

// siteOriginError refuses an origin that the site does not list. It tells the
// cure, but not which other origins are listed: a stranger reads it.
func siteOriginError(r *http.Request) *apiError {
	origin := r.Header.Get("Origin")
	return errOriginNotAllowed("This site does not allow the origin %s. Add it to realtime's origins in the Caddyfile: origins … %s",
		originText(origin), strings.Trim(originText(origin), `"`))
}

// appOriginError refuses an origin that the site allows, but the app does not.
func appOriginError(r *http.Request) *apiError {
	return errOriginNotAllowed("This app does not allow the origin %s. Add it to the app's allowed origins, in the portal or through the admin API.",
		originText(r.Header.Get("Origin")))
}
