package access

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// FuzzOrigins compares the admitted origins with another reading of the list,
// by net/url: only the site itself and listed origins are admitted, and listed
// origins are, as a browser sends them.
func FuzzOrigins(f *testing.F) {
	for _, seed := range [][3]string{
		{"", "https://a.example", ""},
		{"file://", "file://", ""},
		{"app://.", "app://.", ""},
		{"https://a.example", "file://", "site.example"},
		{"*", "null", ""},
		{"null", "null", ""},
		{"https://a.example https://*.b.example:8443", "https://c.b.example:8443", "site.example"},
		{"https://*.a.example", "https://a.example", ""},
		{"https://*.a.example", "https://xa.example", ""},
		{"https://a.example:443", "https://A.EXAMPLE", "a.example"},
		{"http://a.example:080", "http://a.example", ""},
		{"http://[::1]:3000", "http://[0:0::1]:3000", "[::1]:3000"},
		{"http://[::ffff:1.2.3.4]", "http://[::ffff:102:304]", ""},
		{"https://a.example", "https://a.example@b.example", "b.example"},
		{"https://a.example", "https://b.example:443", "b.example"},
		{"http://[0:0::1]", "http://[::1]", ""},
		{"http://[127.0.0.1]", "http://[127.0.0.1]", ""},
		{"capacitor://localhost", "capacitor://localhost", "localhost"},
		{"https://k.example", "https://\u212a.example", "\u212a.example"},
		{"https://a.example", "https://a.example,https://b.example", ""},
		{"https://*.a.example", "https://*.a.example", "*.a.example"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, list, origin, host string) {
		listed := strings.Fields(list)
		o, err := ParseOrigins(listed)
		if err != nil {
			if _, err := ParseOrigins(append(slices.Clone(listed), "https://other.example")); err == nil {
				t.Fatalf("%q is refused, but not with one more", listed)
			}
			return
		}
		r := &http.Request{Header: http.Header{"Origin": {origin}}, Host: host}
		anyone := len(listed) == 0 || slices.Equal(listed, []string{"*"})
		if got, want := o.Allows(r), anyone || isListed(listed, origin) || isSite(origin, host); got && !want {
			t.Fatalf("%q lets in %q at %q", listed, origin, host)
		} else if want && !got && isSent(origin) {
			t.Fatalf("%q refuses %q at %q", listed, origin, host)
		}
		for _, s := range listed {
			sent, ok := asSent(strings.Replace(s, "://*.", "://x.y.", 1))
			if ok && !anyone && !o.Allows(&http.Request{Header: http.Header{"Origin": {sent}}}) {
				t.Fatalf("%q refuses %q", listed, sent)
			}
		}
		if !anyone && o.Allows(&http.Request{Header: http.Header{"Origin": {origin, origin}}, Host: host}) {
			t.Fatalf("%q lets in two origins", listed)
		}
	})
}

// isListed reports whether an origin is in the list, or matches a wildcard in
// it.
func isListed(list []string, origin string) bool {
	for _, s := range list {
		below := strings.Replace(s, "://*.", "://", 1)
		wild := below != s
		sent, ok := asSent(origin)
		switch {
		case s == origin && s == "null":
			return true
		case !ok:
		case !wild:
			if want, ok := asSent(s); ok && want == sent {
				return true
			}
		default:
			want, ok := asSent(below)
			scheme, domain, _ := strings.Cut(want, "://")
			rest, found := strings.CutPrefix(sent, scheme+"://")
			if ok && found && strings.HasSuffix(rest, "."+domain) && len(rest) > len(domain)+1 {
				return true
			}
		}
	}
	return false
}

// isSite reports whether an origin is that host's own, over HTTP or HTTPS.
func isSite(origin, host string) bool {
	sent, ok := asSent(origin)
	for _, scheme := range []string{"http", "https"} {
		if site, valid := asSent(scheme + "://" + host); ok && valid && site == sent {
			return true
		}
	}
	return false
}

// isSent reports whether a browser sends the origin in this form, for a host
// that exists.
func isSent(origin string) bool {
	sent, ok := asSent(origin)
	return origin == "null" || ok && sent == origin && !strings.ContainsAny(origin, "!$&'()+,;=~\"<>*")
}

// asSent returns an origin as a browser writes it, according to net/url and
// net/netip.
func asSent(origin string) (string, bool) {
	u, err := url.Parse(origin)
	if err == nil && u.Scheme != "http" && u.Scheme != "https" && strings.EqualFold(origin, u.Scheme+"://") {
		return u.Scheme + "://", true
	}
	if err != nil || u.User != nil || u.Opaque != "" || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" ||
		strings.ContainsAny(origin, "#%") || u.Hostname() == "" || strings.HasSuffix(u.Host, ":") {
		return "", false
	}
	host, port := u.Hostname(), u.Port()
	for _, c := range []byte(host) {
		if c >= 0x80 {
			return "", false // a browser sends it as xn--
		}
	}
	host = strings.ToLower(host)
	if strings.HasPrefix(u.Host, "[") {
		ip, err := netip.ParseAddr(host)
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", false
		}
		host = "[" + ip.String() + "]"
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return "", false
		}
		port = ":" + strconv.FormatUint(n, 10)
	}
	if u.Scheme == "http" && port == ":80" || u.Scheme == "https" && port == ":443" {
		port = ""
	}
	return u.Scheme + "://" + host + port, true
}
