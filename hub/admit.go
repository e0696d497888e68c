package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/idempotent"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

// An Admitter is a broker that applies Terms itself, for all machines together. For
// other brokers, each hub applies them to what it publishes.
type Admitter interface {
	Broker

	// Admit is Publish on terms: it also returns ErrRateLimited, ErrIdempotencyMismatch
	// or a TooLargeError, or replays an earlier publish. With these errors, nothing
	// was published or counted. After another error, the messages may have been
	// published all the same; a repetition with the same key then replays them.
	Admit(ctx context.Context, all []*Message, t Terms) (Outcome, error)
}

// Terms are the conditions on which messages of one app are published together. The zero
// value has none.
type Terms struct {
	// Limit is how many messages of the app are accepted in any window of the length
	// Window. 0 means no limit.
	Limit  int
	Window time.Duration

	// Key makes the publish happen once. Without a value, there is no key.
	Key IdempotencyKey
}

// An IdempotencyKey identifies a publish that may be repeated. Repetitions have the same
// value, body and messages. It is remembered for idempotent.Lifetime.
type IdempotencyKey struct {
	Value string
	Body  idempotent.Digest
}

// An Outcome says how Terms were applied.
type Outcome struct {
	// Rate is the state of the limit after the publish, also with ErrRateLimited.
	Rate limit.Result

	// Replayed means that the messages were published before, with the same key.
	// They were not published again: they have their Position and Subscribers of
	// that time, and did not count against the limit.
	Replayed bool
}

// Errors of Admit.
var (
	ErrRateLimited           = errors.New("the app has reached its rate limit")
	ErrIdempotencyInProgress = idempotent.ErrInProgress
	ErrIdempotencyMismatch   = idempotent.ErrMismatch
)

// A TooLargeError is the error of Admit for several messages whose data is together
// larger than the broker publishes at once. It has the sizes in bytes.
type TooLargeError struct{ Size, Limit int }

// Error implements error.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the messages have %d bytes of data; the limit of a publish is %d", e.Size, e.Limit)
}
