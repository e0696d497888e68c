package access

import "net/netip"

// ClientPrefix returns the address that limits apply to. An IPv6 address is
// reduced to its /64, the network of a single customer. It returns false for a
// client without an address, as on a unix socket.
func ClientPrefix(ip string) (netip.Prefix, bool) {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Prefix{}, false
	}
	bits := 32
	if addr = addr.Unmap(); addr.Is6() {
		bits = 64
	}
	prefix, err := addr.WithZone("").Prefix(bits)
	return prefix, err == nil
}
