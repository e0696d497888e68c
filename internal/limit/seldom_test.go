package limit_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

func TestWhatStrangersCauseIsLoggedEveryTenSecondsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line limit.Seldom
		said := 0
		for range 250 {
			if line.Now() {
				said++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if said != 3 {
			t.Errorf("said %d times in 25s, want 3", said)
		}
	})
}

func TestLinesAfterABurstAreCountedUntilTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := limit.Seldom{Burst: 10}
		said, suppressed := 0, int64(0)
		for range 100 {
			if n, ok := line.Allow(); ok {
				said++
				suppressed += n
			}
		}
		if said != 10 || suppressed != 0 {
			t.Errorf("said %d times, with %d suppressed", said, suppressed)
		}
		time.Sleep(10 * time.Second)
		if n, ok := line.Allow(); !ok || n != 90 {
			t.Errorf("%v, with %d suppressed", ok, n)
		}
		if n, ok := line.Allow(); ok {
			t.Errorf("said again, with %d suppressed", n)
		}
	})
}
