package limit

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestKeysAreForgottenAWindowOrTwoAfterTheyWerePut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window, size = time.Minute, 10
		var r Recent[int, string]
		get := func(key int, wantKnown, wantFree bool) {
			t.Helper()
			value, known, free := r.Get(key, window, size)
			if known != wantKnown || free != wantFree || known != (value == "kept") {
				t.Errorf("%d: %q, known %v, free %v", key, value, known, free)
			}
			if free {
				r.Put(key, "kept")
			}
			if n := len(r.newer) + len(r.older); n > 2*size {
				t.Errorf("%d are remembered", n)
			}
		}
		get(0, false, true)
		get(0, true, false)
		for key := 1; key < size; key++ {
			get(key, false, true)
		}
		get(size, false, false) // no room left
		for range 3 {
			time.Sleep(window)
			get(0, true, true)
		}
		time.Sleep(window)
		get(1, false, true)
		time.Sleep(2 * window)
		get(0, false, true)
	})
}
