package limit

import "time"

// maxEntries is the maximum size of a log. It is a power of two, like the size
// of every ring.
const maxEntries = 4096

// minEntries is the size of the smallest ring.
const minEntries = 8

// log remembers when events happened, oldest first, in a ring that grows with
// use up to maxEntries.
type log struct {
	ring   []entry
	head   int           // index of the oldest entry
	count  int           // of entries
	events int           // in all entries
	since  time.Duration // when the first event of the newest entry happened
}

// entry is a number of events, all of which count as if they happened at the
// time of the last one.
type entry struct {
	at     time.Duration
	events int
}

// entry returns the i-th oldest entry.
func (l *log) entry(i int) *entry { return &l.ring[(l.head+i)&(len(l.ring)-1)] }

// newest returns the last entry. The log must not be empty.
func (l *log) newest() *entry { return l.entry(l.count - 1) }

// dropUntil drops all events up to and including time t.
func (l *log) dropUntil(t time.Duration) {
	for l.count > 0 && l.entry(0).at <= t {
		l.events -= l.entry(0).events
		l.head = (l.head + 1) & (len(l.ring) - 1)
		l.count--
	}
}

// add records n events at a time that is not before any other. They share the
// newest entry if that began less than a granule ago, or at the same time, or
// if there is no room: after a change of the window, old entries may be closer
// together than new ones would be.
func (l *log) add(t time.Duration, n int, granule time.Duration) {
	l.events += n
	if l.count > 0 && (t-l.since < granule || t == l.newest().at || l.count == maxEntries) {
		l.newest().at = t
		l.newest().events += n
		return
	}
	if l.count == len(l.ring) {
		l.grow()
	}
	l.count++
	*l.newest() = entry{at: t, events: n}
	l.since = t
}

func (l *log) grow() { l.resize(max(minEntries, 2*len(l.ring))) }

// shrink frees the memory that the entries do not need, except for some room
// for new ones.
func (l *log) shrink() {
	if l.count == 0 {
		l.ring, l.head = nil, 0
		return
	}
	size := minEntries
	for size < 2*l.count {
		size *= 2
	}
	if size < len(l.ring) {
		l.resize(size)
	}
}

// resize moves the entries into a new ring, which must have room for them.
func (l *log) resize(size int) {
	ring := make([]entry, size)
	for i := range l.count {
		ring[i] = *l.entry(i)
	}
	l.ring, l.head = ring, 0
}

// blocker returns the time of the entry up to which the oldest entries must be
// dropped for fewer than limit events to be left; the newest if there is none. The
// log must not be empty.
func (l *log) blocker(limit int) time.Duration {
	left := l.events
	for i := range l.count {
		if left -= l.entry(i).events; left < limit {
			return l.entry(i).at
		}
	}
	return l.newest().at
}
