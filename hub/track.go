package hub

import (
	"encoding/binary"
	"slices"
	"time"
)

// A track is what the hub remembers of a member's replays: to bound them, and to
// know what a client that comes back has received. It is guarded by the member's
// mu, or by the session's while the session is away.
type track[P any] struct {
	session *Session[P] // nil if the client cannot come back
	start   uint64      // where the stream stood when the session began
	era     uint32      // the stream's era by then

	// replays are those that the client may not have received as a whole, in
	// order.
	replays []replay[P]
	left    bool   // the member has left a channel
	blurred uint64 // replays up to here are no longer remembered

	// expelled is the first offset after the member was last taken out of a channel, or
	// 0. A client that has not received a message from there on may not know of it.
	expelled uint64

	// joining are the channels that the member is about to join, and replaying how many
	// replays are on their way; see Member.record.
	joining   []SubscriptionSnapshot
	replaying int

	minute time.Time // when spent began
	spent  int       // bytes replayed since
}

// A replay is what one subscribe replayed: messages of a channel from before the
// subscription, sent when the stream stood at at.
type replay[P any] struct {
	channel string
	at      uint64
	offsets []byte // increasing, as the differences between them
}

// maxReplays bounds the offsets that a track remembers, in bytes.
const maxReplays = 16 << 10

// replayBudget is how many replays of the largest size a client can get in a
// minute. It bounds what a client that reconnects in a loop costs.
const replayBudget = 32

// pay reports whether the client can get a replay of that size, and counts it.
func (t *track[P]) pay(size, most int) bool {
	now := time.Now()
	if now.Sub(t.minute) >= time.Minute {
		t.minute, t.spent = now, 0
	}
	if t.spent+size > replayBudget*most {
		return false
	}
	t.spent += size
	return true
}

// replayed remembers what a subscribe has replayed.
func (t *track[P]) replayed(channel string, at uint64, entries []kept) {
	if t.session == nil || len(entries) == 0 {
		return
	}
	r := replay[P]{channel: channel, at: at, offsets: make([]byte, 0, 2*len(entries))}
	var before uint64
	for _, e := range entries {
		r.offsets = binary.AppendUvarint(r.offsets, e.offset-before)
		before = e.offset
	}
	t.replays = append(t.replays, r)
	size := 0
	for _, r := range t.replays {
		size += len(r.offsets)
	}
	for size > maxReplays {
		size -= len(t.replays[0].offsets)
		t.blurred = t.replays[0].at
		t.replays = t.replays[1:]
	}
}

// all returns the offsets that were replayed.
func (r *replay[P]) all() []uint64 {
	var all []uint64
	var before uint64
	for b := r.offsets; len(b) > 0; {
		d, n := binary.Uvarint(b)
		b = b[n:]
		before += d
		all = append(all, before)
	}
	return all
}

// A place is how far a client has got in what it was sent: live messages up to
// offset, and the first replays; of the next, if it is within one, those up to
// within.
type place struct {
	offset  uint64
	replays int
	within  uint64
}

// find returns the place of a client that has received the message at position
// last, which is "" if it has received none. last is ambiguous, and so of no
// use, if the message was sent twice. The caller holds the stream's mu.
func (t *track[P]) find(last string, now Position) (place, bool) {
	if last == "" {
		return place{}, true
	}
	p, ok := ParseID(last)
	if !ok {
		return place{}, false
	}
	before := last == t.session.arrived // received before the session
	if p.Epoch != now.Epoch {
		return place{}, before
	}
	found := -1
	for i := range t.replays {
		if slices.Contains(t.replays[i].all(), p.Offset) {
			if found >= 0 || before || t.left && p.Offset > t.start {
				return place{}, false
			}
			found = i
		}
	}
	switch {
	case found >= 0:
		return place{offset: t.replays[found].at, replays: found, within: p.Offset}, true
	case before:
		return place{}, true
	case p.Offset <= t.start || p.Offset > now.Offset || p.Offset <= t.blurred:
		return place{}, false
	}
	received := 0
	for received < len(t.replays) && t.replays[received].at < p.Offset {
		received++
	}
	return place{offset: p.Offset, replays: received}, true
}
