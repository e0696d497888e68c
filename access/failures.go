package access

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

const (
	// failureHold is for how long an answer is held. Somebody who loops with a
	// wrong key is slowed down to as many a second as connections are used; who
	// has a right one is never held, from the same address or another.
	failureHold = time.Second

	// maxHeld bounds the answers that are held at a time, of all addresses.
	// Others are given at once.
	maxHeld = 1000
)

// Failures counts wrong credentials by client prefix. The zero value has none.
type Failures struct {
	held      atomic.Int32
	addresses limit.Strangers[netip.Prefix] // those whose answers were not held
}

// Hold counts a failure, or delays its answer if there were already count of them
// in the window. It returns early if the context ends.
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
