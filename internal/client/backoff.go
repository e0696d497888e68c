package client

import (
	"math/rand/v2"
	"time"
)

const (
	minBackoff = 500 * time.Millisecond
	maxBackoff = 10 * time.Second
)

// A Backoff computes the wait before each attempt to connect: at least half a
// second, at most ten, twice as long each time, and random within the upper
// half, so that clients that were disconnected together do not reconnect
// together. The zero value is ready to use.
type Backoff struct {
	limit time.Duration // of the last wait
}

// Next returns the next wait.
func (b *Backoff) Next() time.Duration {
	b.limit = min(max(2*b.limit, 2*minBackoff), maxBackoff)
	return b.limit/2 + rand.N(b.limit/2) //nolint:gosec // it spreads load, and is no secret
}

// Reset starts over after a successful attempt.
func (b *Backoff) Reset() { b.limit = 0 }
