package limit

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// model is the definition of a rolling window: it keeps every accepted event.
type model struct{ accepted []time.Duration }

// inWindow returns how many were accepted in (at-window, at].
func (m *model) inWindow(at, window time.Duration) int {
	n := 0
	for i := len(m.accepted) - 1; i >= 0 && at-m.accepted[i] < window; i-- {
		n++
	}
	return n
}

// check compares every window that begins with an accepted event with the
// limit: any other window contains no more than one of these does.
func (m *model) check(t *testing.T, limit int, window time.Duration) {
	t.Helper()
	for i := limit; i < len(m.accepted); i++ {
		if m.accepted[i]-m.accepted[i-limit] < window {
			t.Fatalf("more than %d in %s: from %s to %s", limit, window, m.accepted[i-limit], m.accepted[i])
		}
	}
}

func below(rnd *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(rnd.Int64N(int64(d)))
}

// arrivals are patterns of events: each returns the time from one event to the
// next, given the answer to it.
var arrivals = map[string]func(rnd *rand.Rand, limit int, window time.Duration, last Result) time.Duration{
	"uniform": func(rnd *rand.Rand, limit int, window time.Duration, _ Result) time.Duration {
		return below(rnd, 2*window/time.Duration(limit)+1)
	},
	"bursts": func(rnd *rand.Rand, limit int, window time.Duration, _ Result) time.Duration {
		if rnd.IntN(2*limit) > 0 {
			return 0
		}
		return below(rnd, window+window/2)
	},
	"on the boundary": func(rnd *rand.Rand, limit int, window time.Duration, _ Result) time.Duration {
		if rnd.IntN(limit+1) > 0 {
			return 0
		}
		return max(0, window+time.Duration(rnd.IntN(3))-1)
	},
	"as soon as allowed": func(rnd *rand.Rand, _ int, window time.Duration, last Result) time.Duration {
		if last.OK {
			return below(rnd, window/100+1)
		}
		return last.RetryAfter
	},
	"just too early": func(rnd *rand.Rand, _ int, _ time.Duration, last Result) time.Duration {
		if last.OK {
			return time.Duration(rnd.IntN(3))
		}
		return max(1, last.RetryAfter-time.Duration(rnd.IntN(2)))
	},
	"flood": func(rnd *rand.Rand, limit int, window time.Duration, _ Result) time.Duration {
		return below(rnd, window/time.Duration(5*limit)+2)
	},
}

func TestUpTo4096EveryAnswerIsExact(t *testing.T) {
	for name, next := range arrivals {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(60) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				limit := 1 + rnd.IntN(1<<rnd.IntN(9))
				window := 1 + below(rnd, time.Duration(1)<<rnd.IntN(40))
				var r Rolling
				var m model
				at := below(rnd, window) // at any phase
				for range 20 * limit {
					got := r.Allow(epoch.Add(at), limit, window)
					before := m.inWindow(at, window)
					want := Result{OK: before < limit, Limit: limit, Remaining: max(0, limit-before-1), Reset: window}
					if want.OK {
						m.accepted = append(m.accepted, at)
					} else {
						last := len(m.accepted) - 1
						want.Reset = m.accepted[last] + window - at
						want.RetryAfter = m.accepted[last-limit+1] + window - at
					}
					if got != want {
						t.Fatalf("seed %d: at %s: %+v, want %+v", seed, at, got, want)
					}
					at += next(rnd, limit, window, got)
				}
				m.check(t, limit, window)
			}
		})
	}
}

func TestSeveralAtOnceAreAcceptedAllOrNone(t *testing.T) {
	for name, next := range arrivals {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(60) {
				rnd := rand.New(rand.NewPCG(seed, 4))
				limit := 1 + rnd.IntN(1<<rnd.IntN(9))
				window := 1 + below(rnd, time.Duration(1)<<rnd.IntN(40))
				var r Rolling
				var m model
				at := below(rnd, window)
				for range 20 * limit {
					n := rnd.IntN(1 + min(limit, 1+rnd.IntN(100)))
					got := r.AllowN(epoch.Add(at), n, limit, window)
					before := m.inWindow(at, window)
					want := Result{OK: before+n <= limit, Limit: limit, Remaining: limit - before}
					if last := len(m.accepted) - 1; before > 0 {
						want.Reset = m.accepted[last] + window - at
						if !want.OK { // until so many have left that limit-n are left
							want.RetryAfter = m.accepted[last-(limit-n)] + window - at
						}
					}
					if want.OK && n > 0 {
						want.Remaining, want.Reset = limit-before-n, window
						for range n {
							m.accepted = append(m.accepted, at)
						}
					}
					if got != want {
						t.Fatalf("seed %d: %d at %s: %+v, want %+v", seed, n, at, got, want)
					}
					at += next(rnd, limit, window, got)
				}
				m.check(t, limit, window)
			}
		})
	}
}

func TestMoreAtOnceThanTheLimitAreNeverAccepted(t *testing.T) {
	var r Rolling
	if got, want := r.AllowN(epoch, 6, 5, time.Minute), (Result{Limit: 5, Remaining: 5}); got != want {
		t.Fatalf("%+v, want %+v", got, want)
	}
	r.Allow(epoch, 5, time.Minute)
	if got := r.AllowN(epoch.Add(time.Second), 6, 5, time.Minute); got.OK || got.Remaining != 4 {
		t.Fatalf("%+v", got)
	}
}

func TestAbove4096NoWindowHoldsMore(t *testing.T) {
	for name, next := range arrivals {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(6) {
				rnd := rand.New(rand.NewPCG(seed, 2))
				limit := maxEntries + 1 + rnd.IntN(4*maxEntries)
				window := time.Microsecond + below(rnd, time.Duration(1)<<(10+6*seed))
				var r Rolling
				var m model
				at := below(rnd, window)
				for range 5 * limit {
					n := 1
					if rnd.IntN(10) == 0 {
						n += rnd.IntN(100)
					}
					got := r.AllowN(epoch.Add(at), n, limit, window)
					for range n {
						if got.OK {
							m.accepted = append(m.accepted, at)
						}
					}
					at += next(rnd, limit, window, got)
				}
				m.check(t, limit, window)
			}
		})
	}
}

// The header Retry-After is whole seconds, rounded up.
func TestWaitingWholeSecondsIsAlwaysEnough(t *testing.T) {
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		limit := 1 + rnd.IntN(50)
		if seed%10 == 0 {
			limit = maxEntries + 1 + rnd.IntN(10_000)
		}
		window := 1 + below(rnd, time.Duration(1)<<(20+rnd.IntN(25)))
		var r Rolling
		now := epoch
		for range 10 {
			n := 1 + rnd.IntN(min(limit, 100))
			got := r.AllowN(now, n, limit, window)
			for got.OK {
				now = now.Add(below(rnd, window/time.Duration(4*limit)+1))
				got = r.AllowN(now, n, limit, window)
			}
			if got.RetryAfter <= 0 || got.RetryAfter > window {
				t.Fatalf("seed %d: RetryAfter %s in a window of %s", seed, got.RetryAfter, window)
			}
			wait := (got.RetryAfter + time.Second - 1).Truncate(time.Second)
			now = now.Add(wait)
			if got := r.AllowN(now, n, limit, window); !got.OK {
				t.Fatalf("seed %d: refused after %s: %+v", seed, wait, got)
			}
		}
	}
}

func TestManyAtOnceGetNoMoreThanTheLimit(t *testing.T) {
	for _, limit := range []int{1, 600, 5000} {
		var g Group
		var accepted atomic.Int64
		var clients sync.WaitGroup
		for range 16 {
			clients.Go(func() {
				for range 1000 {
					if g.Allow("app", limit, time.Hour).OK {
						accepted.Add(1)
					}
				}
			})
		}
		clients.Wait()
		if n := int(accepted.Load()); n != limit {
			t.Errorf("%d of 16,000 accepted, want %d", n, limit)
		}
	}
}

// For any sequence of times, numbers of events, limits and windows, the answers agree with each
// other and the log with itself, and as long as nothing changes, the promise
// holds.
func FuzzAllow(f *testing.F) {
	f.Add([]byte{}, uint16(1), uint32(1000))
	f.Add([]byte("a burst, and then another one"), uint16(3), uint32(5))
	f.Add([]byte{0x80, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0}, uint16(600), uint32(60_000_000))
	f.Add([]byte{0xc1, 1, 2, 3, 0x41, 9, 9, 9, 0xe7, 0, 0, 1}, uint16(60_000), uint32(4_000_000_000))
	f.Fuzz(func(t *testing.T, steps []byte, firstLimit uint16, firstWindow uint32) {
		var r Rolling
		var m model
		limit, window := int(firstLimit), time.Duration(firstWindow)
		now, latest, changed := time.Duration(0), time.Duration(math.MinInt64), false // time can go back before the first event
		for ; len(steps) >= 4; steps = steps[4:] {
			step := time.Duration(binary.BigEndian.Uint16(steps[1:]))
			switch steps[0] >> 5 {
			case 7:
				limit, changed = int(step), true
			case 6:
				window, changed = step<<(steps[3]%32), true
			case 5:
				now -= step // the clock went back
			default:
				now += step << (steps[3] % 32)
			}
			latest = max(latest, now)
			n := min(1+int(steps[0]&31), max(limit, 1))
			got := r.AllowN(epoch.Add(now), n, limit, window)
			switch {
			case limit <= 0 || window <= 0:
				if got != (Result{OK: true}) {
					t.Fatalf("no limit: %+v", got)
				}
				continue
			case got.Limit != limit || got.Remaining < 0 || got.Remaining >= limit,
				got.Reset <= 0 || got.Reset > window,
				got.OK != (got.RetryAfter == 0), got.RetryAfter < 0 || got.RetryAfter > got.Reset:
				t.Fatalf("limit %d in %s: %+v", limit, window, got)
			case len(r.log.ring) > maxEntries:
				t.Fatalf("a ring of %d", len(r.log.ring))
			}
			for range n {
				if got.OK {
					m.accepted = append(m.accepted, latest)
				}
			}
		}
		if !changed && limit > 0 && window > 0 {
			m.check(t, limit, window)
		}
	})
}
