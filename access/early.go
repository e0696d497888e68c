package access

import (
	"net/http"
	"slices"
)

// IsEarly reports whether a request came in the early data (0-RTT) of TLS 1.3,
// which Caddy accepts on HTTP/3 unless allow_0rtt is false. An attacker who
// recorded it can replay it, to this server or another one with the same keys,
// and the client's address is not verified yet. A client repeats the request
// after the handshake when it gets a 425; browsers do so automatically.
//
// A proxy in front that accepted the early data says so in a header. A client
// gains nothing by claiming it, so the header needs no trusted proxy.
//
// https://www.rfc-editor.org/rfc/rfc8470#section-5
func IsEarly(r *http.Request) bool {
	return r.TLS != nil && !r.TLS.HandshakeComplete || slices.Contains(r.Header["Early-Data"], "1")
}
