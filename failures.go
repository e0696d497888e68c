package realtime

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxFailures is how many wrong credentials an address may send in a
	// minute, or in up to two, before the answers to the next are held.
	maxFailures = 30

	// failureHold is for how long. Somebody who loops with a wrong key is
	// slowed down to as many a second as connections are used; who has a right
	// one is never held, from the same address or another.
	failureHold = time.Second

	// maxHeld bounds the answers that are held at a time, of all addresses.
	// Others are given at once.
	maxHeld = 1000

	// maxAddresses bounds the addresses that are counted in a minute.
	maxAddresses = 10_000
)

// failures counts wrong credentials by the address that they are from. Its zero
// value has none.
type failures struct {
	held atomic.Int32

	mu                sync.Mutex // guards all below
	current, previous map[netip.Prefix]int
	began             time.Time // of the current minute
}

// hold counts a failure, and waits if the address has had too many. The end of
// the context ends it.
func (f *failures) hold(ctx context.Context, ip string) {
	if f.count(ip) <= maxFailures {
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

// count counts a failure, and returns how many there were in this minute and
// the last.
func (f *failures) count(ip string) int {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return 0 // a unix socket has none
	}
	bits := 32
	if addr = addr.Unmap(); addr.Is6() {
		bits = 64 // what one customer has
	}
	prefix, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return 0
	}
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if age := now.Sub(f.began); age >= time.Minute || f.current == nil {
		f.previous = f.current
		if age >= 2*time.Minute {
			f.previous = nil
		}
		f.current, f.began = make(map[netip.Prefix]int), now
	}
	if len(f.current) < maxAddresses || f.current[prefix] > 0 {
		f.current[prefix]++
	}
	return f.current[prefix] + f.previous[prefix]
}
