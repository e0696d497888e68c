package access

import "net/netip"

// ClientPrefix is the address that limits hold against a client: an IPv6 address
// stands for its /64, which is what one customer has. It is false for a client
// without one, behind a unix socket.
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
