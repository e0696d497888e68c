package limit

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

func TestStrangersGetTheAnswersOfARollingWindowEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(20) {
			rnd := rand.New(rand.NewPCG(seed, 4))
			limit, window := 1+rnd.IntN(5), time.Second+below(rnd, time.Minute)
			var s Strangers[int]
			var exact Group
			for range 3000 {
				key := rnd.IntN(8)
				got, want := s.Allow(key, limit, window), exact.Allow(string(rune('a'+key)), limit, window)
				if got != want {
					t.Fatalf("seed %d: %+v, not %+v", seed, got, want)
				}
				if rnd.IntN(50) == 0 {
					time.Sleep(below(rnd, 3*window))
				} else {
					time.Sleep(below(rnd, window/8))
				}
			}
		}
	})
}

func TestStrangersAreRememberedWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Strangers[int]
		s.Allow(-1, 1, time.Minute)
		for round := range 3 {
			for key := range 2 * MaxStrangers {
				s.Allow(round<<20|key, 1, time.Minute)
			}
			if n := len(s.recent.newer) + len(s.recent.older); n > 2*MaxStrangers {
				t.Fatalf("%d are remembered", n)
			}
			if round == 0 && s.Allow(-1, 1, time.Minute).OK {
				t.Error("one of before is forgotten")
			}
			for range 2 {
				if !s.Allow(99<<20, 1, time.Minute).OK {
					t.Error("one more than there is room for has a limit")
				}
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Minute)
		s.Allow(0, 1, time.Minute)
		if n := len(s.recent.newer) + len(s.recent.older); n != 1 {
			t.Errorf("%d are remembered after two windows", n)
		}
	})
}
