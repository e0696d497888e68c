package hub

import (
	"cmp"
	"slices"
	"time"
)

// From says which earlier messages of a channel a new subscriber wants. Only one
// of the fields is set. The zero value asks for none.
type From struct {
	// Since asks for those after a position, and whether that is all of them.
	Since *Position

	// Last asks for that many of the newest messages.
	Last int

	// Within asks for the messages of that time.
	Within time.Duration
}

// A Standing is a new subscription. It is the zero value unless From asked for
// messages or the member can come back.
type Standing[P any] struct {
	// Position is where the channel stands. Its epoch is "" if the broker has
	// not said it yet.
	Position Position

	// Missing says why Replayed is not all that was asked for, or is "".
	Missing Missing

	// Replayed are the earlier messages. They must be sent before joined
	// returns.
	Replayed []P
}

// Missing is a reason why earlier messages are not replayed.
type Missing string

// The reasons.
const (
	MissingExpired   Missing = "expired"   // the history no longer has all of them
	MissingRestarted Missing = "restarted" // the offsets began again since the position
	MissingTooMany   Missing = "too_many"  // they are more than is replayed at once
)

// positioned reports whether a subscription's place among the messages matters.
// The caller holds mu.
func (m *Member[P]) positioned(from From) bool {
	return from != From{} || m.track != nil && m.track.session != nil
}

// stands answers a subscribe to a channel that the member is already in. The
// caller holds mu.
func (m *Member[P]) stands(channel string, from From, joined func(Standing[P])) error {
	var standing Standing[P]
	if from.Since != nil && !from.Since.isOf(m.stream.app) {
		return ErrPosition
	}
	if m.positioned(from) {
		m.stream.mu.Lock()
		defer m.stream.mu.Unlock()
		standing.Position = m.stream.position()
	}
	c := m.subs[m.find(channel)].channel
	c.mu.Lock() // what joined sends falls between two messages
	defer c.mu.Unlock()
	joined(standing)
	return nil
}

// replay chooses what a new subscription gets. The caller holds mu, the
// stream's mu and the channel's.
func (m *Member[P]) replay(c *channel[P], from From) (replayed []kept, missing Missing, err error) {
	s, r := m.stream, c.history()
	now := time.Since(s.hub.began)
	c.expire(now)
	most := MaxReplay
	switch {
	case from.Since != nil:
		since, floor := *from.Since, r.floor
		interested := s.hub.interests != nil // then the hub may not have seen all of them
		if interested && !r.whole {
			floor = max(floor, s.floor.Load())
		}
		switch {
		case !since.isOf(s.app):
			return nil, "", ErrPosition
		case since.Epoch != s.epoch:
			return nil, MissingRestarted, nil
		case since.Offset > s.last && !interested:
			return nil, "", ErrPosition
		case since.Offset < floor || since.Offset > s.last:
			return nil, MissingExpired, nil
		}
		replayed = r.after(since.Offset)
	case from.Last > 0:
		replayed = r.entries()[max(0, r.len()-from.Last):]
	case from.Within > 0:
		i, _ := slices.BinarySearchFunc(r.entries(), now-from.Within, func(k kept, t time.Duration) int {
			return cmp.Compare(k.at, t)
		})
		replayed = r.entries()[i:]
	}
	if len(replayed) == 0 {
		return nil, "", nil
	}
	id := m.to.ID()
	replayed = slices.DeleteFunc(slices.Clone(replayed), func(k kept) bool { return r.except(k) == id })
	size, bytes := 0, int(s.hub.maxReplay.Load())
	fit := 0 // of the newest
	for ; fit < len(replayed) && fit < most; fit++ {
		if size += len(r.text(replayed[len(replayed)-1-fit])); size > bytes {
			break
		}
	}
	if m.track == nil {
		m.track = new(track[P])
	}
	switch {
	case fit == len(replayed):
	case from.Since != nil:
		return nil, MissingTooMany, nil
	default:
		replayed, missing = replayed[len(replayed)-fit:], MissingTooMany
	}
	if !m.track.pay(min(size, bytes), bytes) {
		return nil, MissingTooMany, nil
	}
	return replayed, missing, nil
}
