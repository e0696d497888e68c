package hub

import "testing"

// A client that got more replays than are remembered is not taken to have got
// what it may not have.
func TestReplaysThatAreForgottenAreNotGuessed(t *testing.T) {
	tr := &track[string]{session: &Session[string]{}}
	const each = 1000
	offset := uint64(0)
	for range 2 * maxReplays / each {
		var entries []kept
		for range each {
			offset++
			entries = append(entries, kept{offset: offset})
		}
		tr.replayed("c", offset, entries)
	}
	epoch := NewEpoch("app")
	now := Position{epoch, offset + 10}
	for of, want := range map[uint64]bool{1: false, each: false, tr.blurred: false, tr.blurred + 1: true, offset: true, offset + 1: true, offset + 11: false} {
		if _, ok := tr.find(Position{epoch, of}.ID(), now); ok != want {
			t.Errorf("%d of %d, of which %d are forgotten: %t", of, offset, tr.blurred, ok)
		}
	}
	if tr.blurred == 0 || tr.blurred == offset {
		t.Errorf("%d of %d are forgotten", tr.blurred, offset)
	}
}
