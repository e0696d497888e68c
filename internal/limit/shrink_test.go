package limit

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWindowsShrinkWhenTheirEventsAreOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		for range 4000 {
			g.Allow("app", 5000, time.Minute)
			time.Sleep(10 * time.Millisecond)
		}
		v, _ := g.windows.Load("app")
		r := v.(*Rolling)
		full := len(r.log.ring)
		time.Sleep(57 * time.Second) // of 40 s of events, 3 s are in the window
		before := r.log.events
		g.Shrink()
		if n := len(r.log.ring); n >= full || n < r.log.count || r.log.events >= before {
			t.Errorf("%d entries in a ring of %d, which had been %d", r.log.count, n, full)
		}
		left := r.log.events
		if got := g.Allow("app", 5000, time.Minute); !got.OK || got.Remaining != 5000-left-1 {
			t.Errorf("%+v after %d", got, left)
		}
		time.Sleep(time.Minute)
		g.Shrink()
		if r.log.ring != nil {
			t.Errorf("a ring of %d for no events", len(r.log.ring))
		}
		if got := g.Allow("app", 1, time.Minute); !got.OK || got.Remaining != 0 {
			t.Errorf("%+v", got)
		}
		if got := g.Allow("app", 1, time.Minute); got.OK || got.RetryAfter != time.Minute {
			t.Errorf("%+v", got)
		}
	})
}

// Shrinking never changes an answer, whenever it happens.
func TestShrinkingChangesNoAnswer(t *testing.T) {
	begin := time.Now()
	var plain, shrunk Rolling
	now := begin
	for i := range 20_000 {
		now = now.Add(time.Duration(i*i%97) * time.Millisecond)
		if i%13 == 0 {
			shrunk.shrink(now)
		}
		if a, b := plain.Allow(now, 300, 10*time.Second), shrunk.Allow(now, 300, 10*time.Second); a != b {
			t.Fatalf("event %d: %+v, not %+v", i, b, a)
		}
	}
}
