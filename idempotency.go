package realtime

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/idempotent"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

// maxIdempotencyKey is the maximum length of an idempotency key, in characters.
const maxIdempotencyKey = 255

// idempotencyKey returns the value of the Idempotency-Key header, or "" if there is
// none. It takes the value as it is: the draft of the header puts quotes around it,
// but few clients do.
func idempotencyKey(r *http.Request) (string, error) {
	if _, sent := r.Header["Idempotency-Key"]; !sent {
		return "", nil
	}
	key, err := access.OnlyHeader(r, "Idempotency-Key")
	if err != nil {
		return "", err
	}
	isOther := func(c rune) bool { return c < ' ' || c > '~' }
	if key == "" || len(key) > maxIdempotencyKey || strings.IndexFunc(key, isOther) >= 0 {
		return "", apierr.InvalidRequest("The Idempotency-Key header is not 1 to %d printable ASCII characters. Send for example a UUID, a new one with each new publish.", maxIdempotencyKey)
	}
	return key, nil
}

// publishOnce is publish for a request with an idempotency key. If the request was
// accepted before, it returns the answer of that time.
func (e publishEndpoint) publishOnce(ctx context.Context, h http.Header, app *keystore.App, batch message.Batch, r idempotent.Request) (answer []byte, subscribers int, err error) {
	var keys idempotent.Keys = &e.publisher.keys
	claim, first, err := keys.Begin(ctx, r)
	switch {
	case errors.Is(err, idempotent.ErrInProgress):
		return nil, 0, apierr.IdempotencyInProgress()
	case errors.Is(err, idempotent.ErrMismatch):
		return nil, 0, apierr.IdempotencyMismatch()
	case err != nil:
		return nil, 0, fmt.Errorf("looking up the idempotency key: %w", err)
	case first != nil:
		respond.SetRateLimit(h, e.publisher.rate(app))
		h["Idempotent-Replayed"] = []string{"true"}
		return first, 0, nil
	}
	// End the claim before the answer is written: the client may have left, or be
	// slow. After an error or a panic, answer is nil, which frees the key.
	defer func() {
		if err := keys.End(context.WithoutCancel(ctx), claim, answer); err != nil {
			e.logger.Error("the answer to a publish was not stored with its idempotency key", zap.Error(err))
		}
	}()
	return e.publish(ctx, h, app, batch)
}
