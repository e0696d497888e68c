package realtime

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

// failures are wrong credentials by the address that they are from. Its zero
// value has none.
type failures struct {
	held      atomic.Int32
	addresses limit.Strangers[netip.Prefix] // those whose answers were not held
}

// hold counts a failure, or waits if the address has had more than it may. The
// end of the context ends it.
func (f *failures) hold(ctx context.Context, ip string, may Rate) {
	customer, ok := customerOf(ip)
	if !ok || f.addresses.Allow(customer, may.Count, time.Duration(may.Window)).OK {
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
