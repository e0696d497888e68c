package hub

import (
	"strings"
	"testing"
	"testing/synctest"
)

// FuzzPosition reads what clients send as a position: an ID that is accepted is
// the only one of its position, and short.
func FuzzPosition(f *testing.F) {
	for _, seed := range []string{
		"", "-", Position{NewEpoch("app"), 0}.ID(), Position{NewEpoch("app"), 1<<64 - 1}.ID(), "AAAAAAAAAAAAAAAA-01", "AAAAAAAAAAAAAAAA-Z",
		"AAAAAAAAAAAAAAAA-+1", "AAAAAAAAAAAAAAAA-1_0", "AAAAAAAAAAAAAAAA-3w5e11264sgsg", "a-1", strings.Repeat("9", 1000) + "-1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		p, ok := ParseID(id)
		if ok && (p.ID() != id || len(id) > 32) {
			t.Fatalf("%q is read as %+v, which is %q", id, p, p.ID())
		}
		s := &Session[string]{arrived: id}
		tr := &track[string]{session: s, start: 5}
		for _, last := range []string{id, id + "x"} {
			if place, ok := tr.find(last, Position{NewEpoch("app"), 10}); ok && place.offset > 10 {
				t.Fatalf("%q is %+v", last, place)
			}
		}
	})
}

// FuzzSessions runs the steps that a script says, see
// TestClientsAreOwedWhatTheModelSays.
func FuzzSessions(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(strings.Repeat("\x01\x02\x03\x40\x80\x0a\x00\xff", 100)))
	f.Add([]byte(strings.Repeat("0\x01AZ\x02x\x4bq\x5a\x00\x46w", 200)))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 2_000 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(n int) int {
				if len(script) == 0 {
					return 0
				}
				b := int(script[0])
				script = script[1:]
				return b % n
			})
			for len(script) > 0 {
				w.step()
			}
			w.finish()
		})
	})
}
