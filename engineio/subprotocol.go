package engineio

import (
	"net/http"
	"strings"
)

// subprotocol returns the first subprotocol that a websocket client offers, or
// "" if it offers none. A client that offers any closes the websocket if the
// server selects none. Their meaning is up to the application, so the first one
// is selected, as a Node server does. An offer that is not a token (RFC 9110,
// section 5.6.2) is never sent back.
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
