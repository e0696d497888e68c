package access

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

const (
	// failureHold is how long an answer is held. It slows a client that loops
	// with a wrong key down to one attempt a second per connection. A client
	// with a valid key is never held, whether from the same address or another.
	failureHold = time.Second

	// maxHeld is how many answers are held at a time, across all addresses. Any
	// others are sent at once.
	maxHeld = 1000
)

// Failures counts wrong credentials by client prefix. The zero value has none.
type Failures struct {
	held      atomic.Int32
	addresses limit.Strangers[netip.Prefix] // those whose answers were not held
}

// Hold counts a failure, or delays its answer if there were already count
// failures in the window. It returns early if the context ends.
func (f *Failures) Hold(ctx context.Context, ip string, count int, window time.Duration) {
	prefix, ok := ClientPrefix(ip)
	if !ok || f.addresses.Allow(prefix, count, window).OK {
		return
	}
	if f.held.Add(1) <= maxHeld {
		timer := time.NewTimer(failureHold)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	f.held.Add(-1)
}
