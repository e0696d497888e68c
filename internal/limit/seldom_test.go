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
