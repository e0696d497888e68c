package site

import (
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Overlap reports whether two listener addresses can accept the same connections.
func Overlap(a, b string) bool {
	if a == b {
		return true
	}
	first, err := caddy.ParseNetworkAddress(a)
	if err != nil {
		return true
	}
	second, err := caddy.ParseNetworkAddress(b)
	if err != nil {
		return true
	}
	if first.IsUnixNetwork() || second.IsUnixNetwork() {
		path := func(host string) string { bare, _, _ := strings.Cut(host, "|"); return bare } // without permissions
		return first.Network == second.Network && path(first.Host) == path(second.Host)
	}
	if first.EndPort < second.StartPort || second.EndPort < first.StartPort {
		return false
	}
	one, err := netip.ParseAddr(first.Host)
	if err != nil { // no host, or a name
		return true
	}
	other, err := netip.ParseAddr(second.Host)
	return err != nil || one.IsUnspecified() || other.IsUnspecified() || one.Unmap() == other.Unmap()
}
