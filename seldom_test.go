package realtime

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatStrangersCauseIsLoggedEveryTenSecondsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line seldom
		said := 0
		for range 250 {
			if line.now() {
				said++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if said != 3 {
			t.Errorf("said %d times in 25s, want 3", said)
		}
	})
}
