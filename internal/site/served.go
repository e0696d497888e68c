package site

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-c079cc48/caddy-realtime/access"
)

// A Gateway is a handler to which backends publish and clients connect.
type Gateway interface {
	caddyhttp.MiddlewareHandler

	// Paths returns the paths that the handler serves.
	Paths() (publish, socket string)
}

// A Served is a site in which the running configuration has a gateway.
type Served struct{ Origin, PublishPath, SocketPath string }

// ServedSites returns the served sites of the running configuration, in its order. A
// site for any host gets the host localhost. YOUR_SITE replaces a wildcard or a
// placeholder in a host. Hosts named only by other kinds of matchers are not found.
func ServedSites() []Served {
	value, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		return nil
	}
	app := value.(*caddyhttp.App)
	var found []Served
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

func appendSites(found []Served, routes caddyhttp.RouteList, hosts []string, origin func(host string) string) []Served {
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
			case Gateway:
				publish, socket := h.Paths()
				for _, host := range here {
					found = append(found, Served{origin(plainHost(host)), publish, socket})
				}
			case *caddyhttp.Subroute:
				found = appendSites(found, h.Routes, here, origin)
			}
		}
	}
	return found
}

// plainHost returns a matcher's host in a form for snippets.
func plainHost(host string) string {
	if rest, ok := strings.CutPrefix(host, "*."); ok && access.IsHost(rest) && !strings.Contains(rest, "*") {
		return "YOUR_SITE." + rest
	}
	if _, ok := access.SiteOrigin(host, true); !ok {
		return "YOUR_SITE"
	}
	return host
}
