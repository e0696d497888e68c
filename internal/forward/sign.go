// Package forward passes requests of long-polling clients on to the machine that has
// their session, where a load balancer has sent them to another one.
//
// Only Forwarder forwards, and only Receiver receives, so that there are no loops. A
// Receiver serves existing sessions; what is known of their clients, it has from the
// request that opened the session.
package forward

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
)

// signatureHeader proves that a request is from a machine of the cluster. Public sites
// neither read it nor pass it on.
const signatureHeader = "Realtime-Forwarded"

// sign returns the signature of a request to a machine.
func sign(secret []byte, machine, method, uri string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(strings.Join([]string{"realtime forward 1", machine, method, uri}, "\n")))
	return hex.EncodeToString(mac.Sum(nil))
}

// signed reports whether a request has a machine's signature, for this machine.
func signed(secret []byte, machine string, r *http.Request) bool {
	got := r.Header[signatureHeader]
	return len(got) == 1 && hmac.Equal([]byte(got[0]), []byte(sign(secret, machine, r.Method, r.RequestURI)))
}
