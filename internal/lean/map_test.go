package lean_test

import (
	"maps"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/internal/lean"
)

func TestMapIsAsGos(t *testing.T) {
	var m lean.Map[int, int]
	want := make(map[int]int)
	for _, most := range []int{1000, 10, 300, 0, 100_000, 3} {
		for len(want) != most {
			key := rand.IntN(200_000)
			if len(want) < most {
				m.Set(key, most)
				want[key] = most
			} else {
				for key := range want {
					m.Delete(key)
					delete(want, key)
					break
				}
			}
			if m.Len() != len(want) || m.Get(key) != want[key] {
				t.Fatalf("%d entries and %d, not %d and %d", m.Len(), m.Get(key), len(want), want[key])
			}
		}
		if got := maps.Collect(m.All()); !maps.Equal(got, want) {
			t.Fatalf("%v, not %v", got, want)
		}
	}
}

func TestMapThatWasLargeIsSmallAgain(t *testing.T) {
	const many = 100_000
	var m lean.Map[int, int]
	before := heap()
	for i := range many {
		m.Set(i, i)
	}
	for i := range many {
		m.Delete(i)
	}
	m.Set(1, 1)
	if left := heap() - before; left > many { // a map of Go's keeps 30 times as much
		t.Errorf("%d bytes are left", left)
	}
	runtime.KeepAlive(&m)
}

// heap is what is in use, in bytes.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
