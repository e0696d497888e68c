package engineio

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// recorded is a wheel that records when it called which session.
func recorded() (*wheel, map[*Session]time.Time) {
	calls := make(map[*Session]time.Time)
	return startWheel(func(s *Session, _ time.Time) {
		if _, twice := calls[s]; twice {
			panic("a timer was called twice")
		}
		calls[s] = time.Now()
	}), calls
}

func newTimer() *timer {
	s := new(Session)
	s.timer.session = s
	return &s.timer
}

func TestTimersAreNeverEarlyAndATickLateAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, calls := recorded()
		defer w.stop()
		random := rand.New(rand.NewPCG(1, 2))
		due := make(map[*Session]time.Time)
		removed := make(map[*Session]bool)
		var timers []*timer
		for range 5000 {
			time.Sleep(time.Duration(random.IntN(int(20 * time.Millisecond))))
			synctest.Wait()
			at := time.Now().Add(time.Duration(random.Int64N(int64(5*time.Minute))) - time.Second)
			tm := newTimer()
			switch random.IntN(4) {
			case 0: // moved
				if len(timers) > 0 {
					if other := timers[random.IntN(len(timers))]; calls[other.session].IsZero() && !removed[other.session] {
						tm = other
					}
				}
			case 1: // removed
				if len(timers) > 0 {
					other := timers[random.IntN(len(timers))]
					removed[other.session] = calls[other.session].IsZero()
					w.remove(other)
				}
			}
			timers = append(timers, tm)
			if at.Before(time.Now()) {
				at = time.Now()
			}
			due[tm.session] = at
			removed[tm.session] = false
			w.schedule(tm, at)
		}
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		for s, at := range due {
			called, ok := calls[s]
			switch {
			case removed[s] && ok && called.After(at):
				t.Fatal("a timer was called that had been taken out")
			case removed[s]:
			case !ok:
				t.Fatal("a timer was not called")
			case called.Before(at), called.After(at.Add(wheelTick)):
				t.Fatalf("a timer was called %v late", called.Sub(at))
			}
		}
		if w.count != 0 {
			t.Errorf("%d timers are left", w.count)
		}
	})
}

func TestTimersOfThePastAreCalledAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, calls := recorded()
		defer w.stop()
		time.Sleep(time.Hour)
		tm := newTimer()
		began := time.Now()
		w.schedule(tm, began.Add(-time.Hour))
		time.Sleep(wheelTick)
		synctest.Wait()
		if calls[tm.session].IsZero() {
			t.Error("the timer was not called")
		}
	})
}

// A process that was stopped has missed ticks, even more than a turn of them.
func TestMissedTicksAreMadeUpFor(t *testing.T) {
	w := &wheel{start: time.Now(), busy: make(chan struct{}, 1)}
	const timers = 3 * wheelSlots
	for i := range timers {
		w.schedule(newTimer(), w.start.Add(time.Duration(i)*wheelTick))
	}
	seen := make(map[*timer]bool)
	for _, tm := range w.due(w.start.Add(timers * wheelTick)) {
		seen[tm] = true
	}
	if len(seen) != timers || w.count != 0 {
		t.Errorf("%d of %d timers were due, %d are left", len(seen), timers, w.count)
	}
}

func BenchmarkWheelSchedule(b *testing.B) {
	w := &wheel{start: time.Now(), busy: make(chan struct{}, 1)}
	timers := make([]*timer, 10_000)
	for i := range timers {
		timers[i] = newTimer()
		w.schedule(timers[i], w.start.Add(time.Duration(i)*5*time.Millisecond))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		w.schedule(timers[i%len(timers)], w.start.Add(time.Duration(i%50_000)*time.Millisecond))
		i++
	}
}

func TestAStopIsWhatTheWheelMissed(t *testing.T) {
	begin := time.Now()
	after := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	w := new(wheel)
	w.ticked.Store(&tick{at: begin})
	for _, ms := range []int{25, 50, 150, 3000, 3025} { // including a late tick and a stop
		w.tick(after(ms))
	}
	for _, c := range []struct {
		at, now int
		missed  bool
	}{
		{140, 3025, false}, // merely late by then
		{150, 3025, false},
		{151, 3025, true},
		{2999, 3030, true},
		{3001, 3030, false},
		{3030, 3200, false},
		{3030, 3300, true}, // a request arrives before the wheel turns again
		{3020, 3300, false},
	} {
		if got := w.missed(after(c.at), after(c.now)); got != c.missed {
			t.Errorf("what was due at %d is missed at %d: %v", c.at, c.now, got)
		}
	}
	for from, want := range map[int]int{0: 2850, 150: 2850, 1000: 2000, 3000: 0, 3010: 0} {
		if got := w.lost(after(from)); got != time.Duration(want)*time.Millisecond {
			t.Errorf("since %d, %s are lost, want %d ms", from, got, want)
		}
	}
}
