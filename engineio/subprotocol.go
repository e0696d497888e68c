package engineio

import (
	"net/http"
	"strings"
)

// subprotocol returns the first subprotocol that a websocket's client offers,
// "" if it offers none. A client that offers some closes the websocket if the
// server selects none of them. Their meaning is the application's, so the first
// is selected, as by a Node server. What is not a token (RFC 9110, section
// 5.6.2) is never sent back.
//
// https://github.com/websockets/ws/blob/master/doc/ws.md#new-websocketserveroptions-callback
func subprotocol(h http.Header) string {
	for _, value := range h["Sec-Websocket-Protocol"] {
		for offer := range strings.SplitSeq(value, ",") {
			if offer = strings.Trim(offer, " \t"); offer == "" {
				continue // RFC 9110, section 5.6.1.2: empty elements are ignored
			}
			if strings.ContainsFunc(offer, notInToken) {
				return ""
			}
			return offer
		}
	}
	return ""
}

func notInToken(c rune) bool {
	isAlphanumeric := '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
	return !isAlphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
}
