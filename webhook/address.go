package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

// maxURL is the length of the longest URL, in bytes.
const maxURL = 2048

// CheckURL returns an error, which says how to correct it, if a hook cannot have
// that URL. Without allowPrivate, it refuses addresses that are not public. Names
// are resolved only when a request is made, and their addresses are checked then.
func CheckURL(raw string, allowPrivate bool) error {
	if len(raw) > maxURL {
		return fmt.Errorf("the URL of a webhook has at most %d bytes, not %d", maxURL, len(raw))
	}
	u, err := url.Parse(raw)
	if err != nil {
		// A url.Error repeats the URL, which can contain a password.
		if parsing, ok := errors.AsType[*url.Error](err); ok {
			err = parsing.Err
		}
		return fmt.Errorf("the URL of the webhook is invalid, write for example https://example.com/webhooks: %w", err)
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the URL of a webhook begins with https:// or http://, for example https://example.com/webhooks")
	case u.User != nil:
		return errors.New("the URL of a webhook has no user and password: the receiver verifies the signature instead")
	case strings.Contains(raw, "#"):
		return errors.New("the URL of a webhook has no fragment: remove # and what follows")
	case u.Hostname() == "":
		return errors.New("the URL of a webhook names a host, for example https://example.com/webhooks")
	case strings.HasSuffix(u.Host, ":") || u.Port() == "0":
		return errors.New("the URL of a webhook has a port from 1 to 65535, or none")
	}
	if port := u.Port(); port != "" {
		if _, err := net.LookupPort("tcp", port); err != nil {
			return errors.New("the URL of a webhook has a port from 1 to 65535, or none")
		}
	}
	if allowPrivate {
		return nil
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return &AddressError{Host: host}
	}
	if addr, err := netip.ParseAddr(host); err == nil && !public(addr) {
		return &AddressError{Host: host}
	}
	return nil
}

// An AddressError refuses a host because its address is not public.
type AddressError struct {
	Host string // as in the URL, or the address to which it resolves
}

// Error implements error.
func (e *AddressError) Error() string {
	return fmt.Sprintf("webhooks are not sent to %s, which is not a public address: use a public host, "+
		"or let the operator allow private targets", e.Host)
}

// guard is the Control function of a net.Dialer, which gets the address that is
// about to be connected to. A name is resolved once for a connection, so the
// address that is checked is the one that is used.
func (m *Manager) guard(_ context.Context, _, address string, _ syscall.RawConn) error {
	if m.private.Load() {
		return nil
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil || !public(to.Addr()) {
		host, _, _ := net.SplitHostPort(address)
		return &AddressError{Host: host}
	}
	return nil
}

// public reports whether an address can be that of a host on the internet.
func public(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return !inAny(addr, special4)
	}
	if nat64.Contains(addr) { // the last four bytes are an IPv4 address
		b := addr.As16()
		return public(netip.AddrFrom4([4]byte(b[12:])))
	}
	if sixToFour.Contains(addr) { // an IPv4 address follows the prefix
		b := addr.As16()
		return public(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return global6.Contains(addr) && !inAny(addr, special6)
}

func inAny(addr netip.Addr, prefixes []netip.Prefix) bool {
	for _, prefix := range prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

var (
	// special4 are the IPv4 addresses that are not public hosts, from the IANA
	// special-purpose address registry.
	special4 = prefixes(
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", // which has the broadcast address
	)

	// global6 are the IPv6 addresses of which parts are assigned to hosts. Outside
	// of them are loopback, fc00::/7, fe80::/10, multicast and mapped addresses.
	global6 = netip.MustParsePrefix("2000::/3")

	// special6 are those of them that are not public hosts: protocol assignments
	// with Teredo, documentation.
	special6 = prefixes("2001::/23", "2001:db8::/32", "3fff::/20")

	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
)

func prefixes(texts ...string) []netip.Prefix {
	parsed := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		parsed[i] = netip.MustParsePrefix(text)
	}
	return parsed
}
