// Package limit counts events in rolling windows.
package limit

import (
	"sync"
	"time"
)

// Rolling counts what was accepted in a rolling window: in no window, at
// whatever phase of the clock it begins, is more accepted than the limit.
//
// It remembers each acceptance, up to a limit of 4,096. Of a higher limit it
// remembers groups that lie within a four-thousandth of the window, and counts
// each group until the last of it is out of the window: it may then refuse for
// that much too long, and never accepts too much. It takes 16 bytes for each
// acceptance or group, so 64 KiB at most.
//
// The zero value is ready for use, and its methods may be called concurrently.
type Rolling struct {
	mu     sync.Mutex    // guards all below
	begin  time.Time     // the first time seen, from which the others are counted
	latest time.Duration // the latest time seen
	window time.Duration // the last one
	log    log
}

// Result is the answer to one event. All of it is zero but OK where there is
// no limit.
type Result struct {
	// OK says that the event was accepted, and counted.
	OK bool

	// Limit is the limit that the event was held against; 0 is none.
	Limit int

	// Remaining is how many more events would be accepted now.
	Remaining int

	// Reset is the time until all that counts now is out of the window, and
	// the whole limit is free again.
	Reset time.Duration

	// RetryAfter is 0 if the event was accepted. Else, who waits this long or
	// longer is accepted, if nobody else takes his place.
	RetryAfter time.Duration
}

// allowNow is allow at the current time. It reads the clock when its turn has
// come, so that it counts an event at the time at which it accepts it.
func (r *Rolling) allowNow(limit int, window time.Duration) Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.allow(time.Now(), limit, window)
}

// allow accepts and counts an event if fewer than limit were accepted in the
// window that ends now. It needs mu.
//
// now should carry a monotonic clock reading, as that of [time.Now] does; a
// time before one already seen is taken for the latter. limit and window may
// differ from call to call: what was accepted before counts against the new
// limit in the new window, as far as the old window had not dropped it yet.
func (r *Rolling) allow(now time.Time, limit int, window time.Duration) Result {
	if r.begin.IsZero() {
		r.begin = now
	}
	r.window = window
	r.drop(now)
	if r.log.events >= limit {
		return Result{
			Limit:      limit,
			Reset:      window - (r.latest - r.log.newest().at),
			RetryAfter: window - (r.latest - r.log.blocker(limit)),
		}
	}
	r.log.add(r.latest, granule(limit, window))
	return Result{OK: true, Limit: limit, Remaining: limit - r.log.events, Reset: window}
}

// drop forgets what is out of the window. It needs mu.
func (r *Rolling) drop(now time.Time) {
	r.latest = max(r.latest, now.Sub(r.begin))
	r.log.dropUntil(r.latest - r.window)
}

// shrink frees what is kept for events that do not count any more.
func (r *Rolling) shrink(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.begin.IsZero() {
		r.drop(now)
		r.log.shrink()
	}
}

// granule is the time within which events share an entry of the log, so that
// the entries of a window fit into it; 0 where they do anyway.
func granule(limit int, window time.Duration) time.Duration {
	if limit <= maxEntries {
		return 0
	}
	// One entry may be half out of the window, and one has just begun.
	return window/(maxEntries-2) + 1
}
