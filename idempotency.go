package realtime

import (
	"net/http"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// maxIdempotencyKey is the maximum length of an idempotency key, in characters.
const maxIdempotencyKey = 255

// idempotencyKey returns the key in the Idempotency-Key header, without the digest of
// the body, or none. It takes the value as it is: the draft of the header puts quotes
// around it, but few clients do.
func idempotencyKey(r *http.Request) (key hub.IdempotencyKey, err error) {
	if _, sent := r.Header["Idempotency-Key"]; !sent {
		return key, nil
	}
	key.Value, err = access.OnlyHeader(r, "Idempotency-Key")
	if err != nil {
		return key, err
	}
	isOther := func(c rune) bool { return c < ' ' || c > '~' }
	if key.Value == "" || len(key.Value) > maxIdempotencyKey || strings.IndexFunc(key.Value, isOther) >= 0 {
		return key, apierr.InvalidRequest("The Idempotency-Key header is not 1 to %d printable ASCII characters. Send for example a UUID, a new one with each new publish.", maxIdempotencyKey)
	}
	return key, nil
}
