package access

import (
	"net/http"
	"slices"
)

// IsEarly reports whether a request came in the early data (0-RTT) of TLS 1.3,
// which Caddy takes on HTTP/3 unless allow_0rtt is false. Somebody who recorded
// it can send it again, to this server or another one with the same keys, and
// its address is not verified yet. A client repeats it after the handshake when
// it gets a 425; browsers do so by themselves.
//
// A proxy in front that took the early data says so in a header. Nothing is
// gained by claiming it, so it needs no trusted proxy.
//
// https://www.rfc-editor.org/rfc/rfc8470#section-5
func IsEarly(r *http.Request) bool {
	return r.TLS != nil && !r.TLS.HandshakeComplete || slices.Contains(r.Header["Early-Data"], "1")
}
