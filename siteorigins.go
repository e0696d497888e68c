package realtime

import "slices"

// siteOrigins are the origins of each site of the configurations that run: two
// while a reload is under way.
type siteOrigins []*origins

// allow reports whether any of the sites takes the origin that a visitor came
// with. The site that the visitor came to may have another name, place or
// address in a later configuration, or be known by matchers that only a request
// tells, so all of them are asked.
func (s siteOrigins) allow(v *visitor) bool {
	if len(s) == 0 || v.origin == nil {
		return true
	}
	r := v.request()
	return slices.ContainsFunc(s, func(o *origins) bool { return o.allowed(r) })
}

// useSites puts the sites of the running configurations in force. Sockets whose
// origin none of them takes are disconnected as those of a revoked key are. It
// needs mu.
func (rt *runtime) useSites() {
	var sites siteOrigins
	for _, config := range rt.configs {
		for _, h := range config.handlers {
			sites = append(sites, h.origins)
		}
	}
	rt.sites.Store(&sites) // first: a socket that connects sees it, or is found
	if slices.ContainsFunc(sites, (*origins).any) {
		return
	}
	for _, sock := range rt.sockets.all() {
		if !sites.allow(sock.visitor) {
			sock.conn.Disconnect("origin withdrawn")
		}
	}
}
