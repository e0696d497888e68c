package limit

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// epoch has no monotonic reading, so tests can choose every nanosecond.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestCountsDownThenRefusesThenRecovers(t *testing.T) {
	var r Rolling
	const window = time.Minute
	for _, step := range []struct {
		at   time.Duration
		want Result
	}{
		{0, Result{OK: true, Limit: 2, Remaining: 1, Reset: window}},
		{10 * time.Second, Result{OK: true, Limit: 2, Remaining: 0, Reset: window}},
		{10 * time.Second, Result{Limit: 2, Reset: window, RetryAfter: 50 * time.Second}},
		{59 * time.Second, Result{Limit: 2, Reset: 11 * time.Second, RetryAfter: time.Second}},
		{window - 1, Result{Limit: 2, Reset: 10*time.Second + 1, RetryAfter: 1}},
		{window, Result{OK: true, Limit: 2, Remaining: 0, Reset: window}},
		{window + 9*time.Second, Result{Limit: 2, Reset: 51 * time.Second, RetryAfter: time.Second}},
		{window + 10*time.Second, Result{OK: true, Limit: 2, Remaining: 0, Reset: window}},
		{10 * window, Result{OK: true, Limit: 2, Remaining: 1, Reset: window}},
	} {
		if got := r.Allow(epoch.Add(step.at), 2, window); got != step.want {
			t.Fatalf("at %s: %+v, want %+v", step.at, got, step.want)
		}
	}
}

func TestWithoutLimitNothingIsCounted(t *testing.T) {
	var r Rolling
	for _, none := range []struct {
		limit  int
		window time.Duration
	}{{0, time.Minute}, {-1, time.Minute}, {1, 0}, {1, -time.Second}} {
		for range 3 {
			if got := r.Allow(epoch, none.limit, none.window); got != (Result{OK: true}) {
				t.Fatalf("limit %d in %s: %+v", none.limit, none.window, got)
			}
		}
	}
	if got := r.Allow(epoch, 1, time.Minute); !got.OK {
		t.Fatal("what had no limit counts against the first one")
	}
}

func TestLowerLimitWaitsForAsManyAsItNeeds(t *testing.T) {
	var r Rolling
	for i := range 10 {
		r.Allow(epoch.Add(time.Duration(i)*time.Second), 10, time.Minute)
	}
	at := epoch.Add(10 * time.Second)
	got := r.Allow(at, 3, time.Minute)
	// Of the ten, those of seconds 0 to 7 must leave the window before only two
	// remain.
	if want := (Result{Limit: 3, Reset: 59 * time.Second, RetryAfter: 57 * time.Second}); got != want {
		t.Fatalf("%+v, want %+v", got, want)
	}
	if got := r.Allow(at.Add(got.RetryAfter-1), 3, time.Minute); got.OK {
		t.Error("accepted too early")
	}
	if got := r.Allow(at.Add(got.RetryAfter), 3, time.Minute); !got.OK {
		t.Error("refused after the wait")
	}
}

func TestHigherLimitFreesAtOnce(t *testing.T) {
	var r Rolling
	r.Allow(epoch, 1, time.Minute)
	if got := r.Allow(epoch, 1, time.Minute); got.OK {
		t.Fatal("the limit does not hold")
	}
	if got := r.Allow(epoch, 3, time.Minute); !got.OK || got.Remaining != 1 {
		t.Fatalf("%+v, want it accepted and 1 remaining", got)
	}
}

func TestLongerWindowCountsWhatIsRemembered(t *testing.T) {
	var r Rolling
	r.Allow(epoch, 2, time.Second)
	r.Allow(epoch.Add(1500*time.Millisecond), 2, time.Second) // drops the first
	got := r.Allow(epoch.Add(2*time.Second), 2, time.Minute)
	if !got.OK || got.Remaining != 0 {
		t.Fatalf("%+v, want the second to count and the first not", got)
	}
	if got := r.Allow(epoch.Add(3*time.Second), 2, time.Minute); got.OK {
		t.Fatal("the longer window does not hold")
	}
}

func TestShorterWindowForgetsSooner(t *testing.T) {
	var r Rolling
	r.Allow(epoch, 1, time.Hour)
	if got := r.Allow(epoch.Add(time.Second), 1, 2*time.Second); got.OK || got.RetryAfter != time.Second {
		t.Fatalf("%+v, want a wait of 1s", got)
	}
	if got := r.Allow(epoch.Add(2*time.Second), 1, 2*time.Second); !got.OK {
		t.Fatal("the old window holds on")
	}
}

func TestTimeThatGoesBackAcceptsNoMore(t *testing.T) {
	var r Rolling
	r.Allow(epoch.Add(time.Minute), 2, time.Second)
	r.Allow(epoch, 2, time.Second) // a minute earlier, counted with the first
	for _, back := range []time.Duration{0, time.Second, time.Minute, math.MaxInt64} {
		got := r.Allow(epoch.Add(time.Minute).Add(-back), 2, time.Second)
		if got.OK || got.RetryAfter != time.Second || got.Reset != time.Second {
			t.Fatalf("%s back: %+v", back, got)
		}
	}
	if got := r.Allow(epoch.Add(time.Minute+time.Second), 2, time.Second); !got.OK || got.Remaining != 1 {
		t.Fatalf("after the window: %+v", got)
	}
}

func TestLongestWindowDoesNotOverflow(t *testing.T) {
	var r Rolling
	for range 2 {
		r.Allow(epoch, 2, math.MaxInt64)
		epoch := epoch.Add(200 * 365 * 24 * time.Hour)
		got := r.Allow(epoch, 2, math.MaxInt64)
		if got.RetryAfter < 0 || got.Reset <= 0 {
			t.Fatalf("%+v", got)
		}
	}
	if r.log.events != 2 {
		t.Fatalf("%d events, want 2", r.log.events)
	}
}

func TestLogIsBoundedAndGrowsWithUse(t *testing.T) {
	var r Rolling
	r.Allow(epoch, 1_000_000, time.Minute)
	if n := len(r.log.ring); n > 8 {
		t.Errorf("room for %d entries after one event", n)
	}
	now := epoch
	for range 300_000 {
		now = now.Add(500 * time.Microsecond)
		r.Allow(now, 1_000_000, time.Minute)
	}
	if n := len(r.log.ring); n > maxEntries {
		t.Errorf("room for %d entries, want at most %d", n, maxEntries)
	}
}

func TestLogIsBoundedWhenTheWindowGrows(t *testing.T) {
	var r Rolling
	now := epoch
	for _, window := range []time.Duration{time.Second, time.Minute, time.Hour} {
		for range 20_000 {
			now = now.Add(window / 10_000)
			r.Allow(now, 1_000_000, window)
		}
	}
	if n := len(r.log.ring); n > maxEntries {
		t.Errorf("room for %d entries, want at most %d", n, maxEntries)
	}
	if got := r.Allow(now, 1_000_000, time.Hour); got.Remaining > 1_000_000-10_000 {
		t.Errorf("%d remain: events were lost when the log was full", got.Remaining)
	}
}

// Above 4,096, the limit can be reached slightly early, but no more than that.
func TestHighLimitIsUsedAlmostWhole(t *testing.T) {
	const limit, window = 50_000, time.Minute
	for _, offered := range []int{limit * 999 / 1000, 3 * limit} {
		var r Rolling
		now, accepted := epoch, 0
		for now.Before(epoch.Add(3 * window)) {
			if r.Allow(now, limit, window).OK {
				accepted++
			}
			now = now.Add(window / time.Duration(offered))
		}
		if accepted < 3*limit*998/1000 {
			t.Errorf("%d offered in a window: %d accepted in 3 windows of %d", offered, accepted, limit)
		}
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	for _, limit := range []int{600, 1_000_000} {
		var r Rolling
		now := epoch
		next := func() {
			now = now.Add(10 * time.Millisecond)
			r.Allow(now, limit, time.Minute)
		}
		for range 10_000 {
			next()
		}
		if n := testing.AllocsPerRun(10_000, next); n != 0 {
			t.Errorf("limit %d: %v allocations an event", limit, n)
		}
	}
}

func TestGroupKeepsKeysApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		if got := g.Allow("a", 1, time.Minute); !got.OK {
			t.Fatal("refused the first")
		}
		if got := g.Allow("b", 1, time.Minute); !got.OK {
			t.Fatal("one key's events count against another")
		}
		time.Sleep(20 * time.Second)
		got := g.Allow("a", 1, time.Minute)
		if want := (Result{Limit: 1, Reset: 40 * time.Second, RetryAfter: 40 * time.Second}); got != want {
			t.Fatalf("%+v, want %+v", got, want)
		}
		time.Sleep(got.RetryAfter)
		if got := g.Allow("a", 1, time.Minute); !got.OK {
			t.Fatal("refused after the wait")
		}
	})
}

func TestGroupForgets(t *testing.T) {
	var g Group
	g.Forget("a")
	g.Allow("a", 1, time.Hour)
	g.Forget("a")
	if got := g.Allow("a", 1, time.Hour); !got.OK {
		t.Fatal("what was forgotten counts")
	}
}

func TestGroupAllocatesNothingForAKnownKey(t *testing.T) {
	var g Group
	key := "app_" + t.Name()
	for range 5000 {
		g.Allow(key, 600, time.Hour)
	}
	if n := testing.AllocsPerRun(1000, func() { g.Allow(key, 600, time.Hour) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
