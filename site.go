package realtime

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-c079cc48/caddy-realtime/access"
)

// A servedSite is a place where the running configuration has a realtime handler.
type servedSite struct {
	Origin  string
	handler *Handler
}

// servedSites finds those of the running configuration, in its order. A site that
// takes any host is at localhost, and YOUR_SITE stands for a wildcard or a
// placeholder in a host; what only other matchers know is not found.
func servedSites() []servedSite {
	value, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		return nil
	}
	app := value.(*caddyhttp.App)
	var found []servedSite
	for _, server := range app.Servers {
		if len(server.Listen) == 0 {
			continue
		}
		addr, err := caddy.ParseNetworkAddress(server.Listen[0])
		if err != nil {
			continue
		}
		origin := func(host string) string {
			scheme, usual := "http", uint(caddyhttp.DefaultHTTPPort)
			if len(server.TLSConnPolicies) > 0 {
				scheme, usual = "https", caddyhttp.DefaultHTTPSPort
			}
			if addr.StartPort != usual {
				host += ":" + strconv.FormatUint(uint64(addr.StartPort), 10)
			}
			return scheme + "://" + host
		}
		found = appendSites(found, server.Routes, []string{"localhost"}, origin)
	}
	return found
}

func appendSites(found []servedSite, routes caddyhttp.RouteList, hosts []string, origin func(host string) string) []servedSite {
	for _, route := range routes {
		here := hosts
		for _, set := range route.MatcherSets {
			for _, matcher := range set {
				if match, ok := matcher.(*caddyhttp.MatchHost); ok && len(*match) > 0 {
					here = *match
				}
			}
		}
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *Handler:
				for _, host := range here {
					found = append(found, servedSite{origin(plainHost(host)), h})
				}
			case *caddyhttp.Subroute:
				found = appendSites(found, h.Routes, here, origin)
			}
		}
	}
	return found
}

// plainHost is a host of a matcher as a snippet may have it.
func plainHost(host string) string {
	if rest, ok := strings.CutPrefix(host, "*."); ok && access.IsHost(rest) && !strings.Contains(rest, "*") {
		return "YOUR_SITE." + rest
	}
	if _, ok := access.SiteOrigin(host, true); !ok {
		return "YOUR_SITE"
	}
	return host
}
