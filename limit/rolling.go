// Package limit counts events in rolling windows.
package limit

import (
	"sync"
	"time"
)

// maxEntries bounds the log of one window. A higher limit is kept in granules
// of several events.
const maxEntries = 4096

// Rolling counts what was accepted in a rolling window. In no window, at any
// phase of the clock, is more accepted than the limit.
//
// It is a log of acceptances. Where the limit is over 4,096, acceptances that
// lie close together share an entry, which counts until the last of them is
// out of the window: that may refuse a little early, and never accepts too
// much. The zero value is ready for use.
type Rolling struct {
	mu      sync.Mutex    // guards all below
	begin   time.Time     // the first time seen, from which times are counted
	last    time.Duration // the latest: time never goes back
	entries []entry       // a ring
	first   int           // index of the oldest
	count   int           // of entries in use
	events  int           // in all entries
}

// entry is a number of events that count as if they were all at a time.
type entry struct {
	at     time.Duration
	events int
}

// Result is the answer to one event.
type Result struct {
	// OK says that the event was accepted, and counted.
	OK bool

	// Limit is the limit; 0 is none, and then the rest is 0 too.
	Limit int

	// Remaining is how many more would be accepted now.
	Remaining int

	// Reset is the time until the whole limit is free again.
	Reset time.Duration

	// RetryAfter is the time until an event that was refused will be accepted,
	// if nobody else takes its place; 0 if it was accepted.
	RetryAfter time.Duration
}

// Allow counts an event if it is within the limit for the window that ends
// now. limit and window may change from call to call; a longer window counts
// only what the one before had not yet dropped.
func (r *Rolling) Allow(now time.Time, limit int, window time.Duration) Result {
	if limit <= 0 || window <= 0 {
		return Result{OK: true}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begin.IsZero() {
		r.begin = now
	}
	r.last = max(r.last, now.Sub(r.begin))
	for r.count > 0 && r.last-r.entry(0).at >= window {
		r.events -= r.entry(0).events
		r.first = (r.first + 1) % len(r.entries)
		r.count--
	}
	result := Result{OK: r.events < limit, Limit: limit}
	if result.OK {
		r.add(limit, window)
	} else {
		result.RetryAfter = r.untilBelow(limit, window)
	}
	result.Remaining = max(0, limit-r.events)
	if r.count > 0 {
		result.Reset = r.entry(r.count-1).at + window - r.last
	}
	return result
}

// add counts an event, in the latest entry if that is near enough.
func (r *Rolling) add(limit int, window time.Duration) {
	r.events++
	if r.count > 0 && r.joins(r.entry(r.count-1).at, limit, window) {
		latest := r.entry(r.count - 1)
		latest.at = r.last // an entry counts too long rather than too short
		latest.events++
		return
	}
	if r.count == len(r.entries) {
		r.grow()
	}
	*r.entry(r.count) = entry{at: r.last, events: 1}
	r.count++
}

// joins says whether an event may share the entry of one at an earlier time.
func (r *Rolling) joins(at time.Duration, limit int, window time.Duration) bool {
	if at == r.last {
		return true
	}
	granule := window / maxEntries
	return limit > maxEntries && granule > 0 && at/granule == r.last/granule
}

func (r *Rolling) grow() {
	entries := make([]entry, max(8, 2*len(r.entries)))
	for i := range r.count {
		entries[i] = *r.entry(i)
	}
	r.entries, r.first = entries, 0
}

// entry is the i-th oldest.
func (r *Rolling) entry(i int) *entry {
	return &r.entries[(r.first+i)%len(r.entries)]
}

// untilBelow is the time until fewer than limit events count.
func (r *Rolling) untilBelow(limit int, window time.Duration) time.Duration {
	left := r.events
	for i := range r.count {
		e := r.entry(i)
		if left -= e.events; left < limit {
			return e.at + window - r.last
		}
	}
	return 0
}
