package realtime

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// failureHold is for how long an answer is held. Somebody who loops with a wrong key is
	// slowed down to as many a second as connections are used; who has a right
	// one is never held, from the same address or another.
	failureHold = time.Second

	// maxHeld bounds the answers that are held at a time, of all addresses.
	// Others are given at once.
	maxHeld = 1000

	// maxAddresses bounds the addresses that are counted in a window.
	maxAddresses = 10_000
)

// failures counts wrong credentials by the address that they are from. Its zero
// value has none.
type failures struct {
	held atomic.Int32

	mu                sync.Mutex // guards all below
	current, previous map[netip.Prefix]int
	began             time.Time // of the current window
}

// hold counts a failure, and waits if the address has had more than it may. The
// end of the context ends it.
func (f *failures) hold(ctx context.Context, ip string, may Rate) {
	if may.Count == 0 || f.count(ip, time.Duration(may.Window)) <= may.Count {
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

// count counts a failure, and returns how many there were in this window and
// the last.
func (f *failures) count(ip string, window time.Duration) int {
	customer, ok := customerOf(ip)
	if !ok {
		return 0
	}
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if age := now.Sub(f.began); age >= window || f.current == nil {
		f.previous = f.current
		if age >= 2*window {
			f.previous = nil
		}
		f.current, f.began = make(map[netip.Prefix]int), now
	}
	if len(f.current) < maxAddresses || f.current[customer] > 0 {
		f.current[customer]++
	}
	return f.current[customer] + f.previous[customer]
}
