package webhook

import (
	"slices"
	"time"
)

// A replay makes a hook's events of the facts of its app. ChannelVacated and MemberLeft
// wait, and are not sent if they are taken back meanwhile. Only the times of the facts
// matter, so any machine that reads the same facts makes the same events.
type replay struct {
	wish
	hook string
	wait time.Duration

	read  FactID // the last fact that was read
	count uint64 // facts up to it
	sent  FactID // facts up to it are not to be sent again, but can be taken back
	held  []heldFact
}

// A heldFact waits.
type heldFact struct {
	Fact
	key   string
	count uint64 // facts before it
}

// start returns where a replay that goes on has to begin: after which fact, and how many
// there are up to it.
func (r *replay) start() (FactID, uint64) {
	if len(r.held) > 0 {
		return r.held[0].ID.before(), r.held[0].count
	}
	return r.read, r.count
}

// add reads the next fact. It calls emit for the events, until it returns false: the
// fact is then to be added again.
func (r *replay) add(f Fact, emit func(*Event) bool) bool {
	if !r.pass(f.ID.Time(), emit) {
		return false
	}
	if len(r.held) >= maxHeld && !r.pass(r.held[0].ID.Time().Add(r.wait), emit) {
		return false
	}
	begins := f.Event.Type == ChannelOccupied || f.Event.Type == MemberJoined
	ends := f.Event.Type == ChannelVacated || f.Event.Type == MemberLeft
	if begins || ends {
		key := f.Event.Channel + "\x00" + f.Event.User
		i := slices.IndexFunc(r.held, func(h heldFact) bool { return h.key == key })
		switch {
		case i >= 0:
			r.held = slices.Delete(r.held, i, i+1)
		case begins && !r.emit(&f, emit):
			return false
		}
		if ends {
			r.held = append(r.held, heldFact{f, key, r.count})
		}
	} else if !r.emit(&f, emit) {
		return false
	}
	r.read, r.count = f.ID, r.count+1
	return true
}

// pass emits what has waited long enough at a time. No fact before it may be added any
// longer.
func (r *replay) pass(now time.Time, emit func(*Event) bool) bool {
	for len(r.held) > 0 && !r.held[0].ID.Time().Add(r.wait).After(now) {
		if r.wants(&r.held[0].Fact) && !emit(&r.held[0].Event) {
			return false
		}
		r.held = slices.Delete(r.held, 0, 1)
	}
	return true
}

// emit emits a fact unless it was sent before.
func (r *replay) emit(f *Fact, emit func(*Event) bool) bool {
	return f.ID.Compare(r.sent) <= 0 || !r.wants(f) || emit(&f.Event)
}

func (r *replay) wants(f *Fact) bool {
	switch f.Event.Type {
	case Test:
		return f.Hook == r.hook
	case StateReset:
		return true
	}
	return r.matches(setOf(f.Event.Type), f.Event.Channel)
}
