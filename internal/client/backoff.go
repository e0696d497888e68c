package client

import (
	"math/rand/v2"
	"time"
)

const (
	minBackoff = 500 * time.Millisecond
	maxBackoff = 10 * time.Second
)

// A Backoff says how long to wait before each next attempt to connect: half a
// second at least, ten at most, twice as long each time, and random within the
// upper half, so that clients which were cut off together do not come back
// together. The zero value is ready.
type Backoff struct {
	limit time.Duration // of the last wait
}

// Next is the next wait.
func (b *Backoff) Next() time.Duration {
	b.limit = min(max(2*b.limit, 2*minBackoff), maxBackoff)
	return b.limit/2 + rand.N(b.limit/2) //nolint:gosec // it spreads load, and is no secret
}

// Reset begins again, after an attempt that succeeded.
func (b *Backoff) Reset() { b.limit = 0 }
