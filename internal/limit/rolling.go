// Package limit counts events in rolling windows.
package limit

import (
	"sync"
	"time"
)

// Rolling limits events in a rolling window: no window, wherever it begins,
// contains more accepted events than the limit.
//
// For a limit of up to 4,096, it remembers each accepted event. For a higher
// limit, it remembers groups of events that lie within a four-thousandth of the
// window, and counts each group until its last event leaves the window: it may
// then refuse for that much too long, but never accepts too much. It takes 16
// bytes per event or group, so at most 64 KiB.
//
// The zero value is ready to use, and its methods can be called concurrently.
type Rolling struct {
	mu     sync.Mutex    // guards the fields below
	begin  time.Time     // the first time seen, which the others are relative to
	latest time.Duration // the latest time seen
	window time.Duration // the window of the last call
	log    log
}

// Result is the answer to one event, or to several at once. If there is no limit, everything but OK is
// zero.
type Result struct {
	// OK means that the events were accepted and counted.
	OK bool

	// Limit is the limit that applied to the event; 0 means none.
	Limit int

	// Remaining is how many more events would be accepted now.
	Remaining int

	// Reset is the time until everything that counts now has left the window,
	// and the whole limit is available again.
	Reset time.Duration

	// RetryAfter is 0 if the events were accepted. Otherwise, as many after this
	// time or later are accepted, if no others take their place.
	RetryAfter time.Duration
}

// allowNow calls allow with the current time. It reads the clock under the
// lock, so that events count at the time at which they are accepted.
func (r *Rolling) allowNow(n, limit int, window time.Duration) Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.allow(time.Now(), n, limit, window)
}

// allow accepts and counts n events if, with them, no more than limit were
// accepted in the window that ends now. The caller must hold mu.
//
// now should carry a monotonic clock reading, as [time.Now] does; a time before
// one already seen is replaced by the latter. limit and window can differ from
// call to call: events accepted before count against the new limit in the new
// window, as far as the old window had not dropped them yet.
func (r *Rolling) allow(now time.Time, n, limit int, window time.Duration) Result {
	if r.begin.IsZero() {
		r.begin = now
	}
	r.window = window
	r.drop(now)
	if n > 0 && r.log.events+n <= limit {
		r.log.add(r.latest, n, granule(limit, window))
		return Result{OK: true, Limit: limit, Remaining: limit - r.log.events, Reset: window}
	}
	result := Result{OK: n == 0, Limit: limit, Remaining: max(0, limit-r.log.events)}
	if r.log.count > 0 {
		result.Reset = window - (r.latest - r.log.newest().at)
		if n > 0 {
			result.RetryAfter = window - (r.latest - r.log.blocker(limit-n+1))
		}
	}
	return result
}

// drop drops events that have left the window. The caller must hold mu.
func (r *Rolling) drop(now time.Time) {
	r.latest = max(r.latest, now.Sub(r.begin))
	r.log.dropUntil(r.latest - r.window)
}

// shrink frees the memory of events that no longer count.
func (r *Rolling) shrink(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.begin.IsZero() {
		r.drop(now)
		r.log.shrink()
	}
}

// granule returns the time within which events share an entry, so that a
// window's entries fit into the log; 0 if they always fit.
func granule(limit int, window time.Duration) time.Duration {
	if limit <= maxEntries {
		return 0
	}
	// One entry can be half out of the window, and another has just begun.
	return window/(maxEntries-2) + 1
}
