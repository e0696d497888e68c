package hub

import (
	"context"
	"slices"
	"time"
)

// A Past is a part of a channel's history.
type Past struct {
	// Position is where the app's messages stand. Its epoch is "" if the broker has
	// not said it yet.
	Position Position

	// Missing says why Messages do not begin right after the position that was asked
	// for, or is "".
	Missing Missing

	Messages []PastMessage

	// More reports that there are further messages in the order asked for.
	More bool
}

// A PastMessage is a message in a channel's history.
type PastMessage struct {
	ID     string
	Offset uint64
	Time   time.Time // when the hub got it
	Text   []byte    // see Codec; it must not be changed
}

// Past returns at most limit messages of a channel: the oldest first, or the newest
// first. since asks for those after a position; nil for all that are kept. The error is
// ErrPosition or, until ctx ends, the broker's, which is asked for the history of a
// channel without subscribers unless it is Local.
func (h *Hub[P]) Past(ctx context.Context, app, channel string, since *Position, limit int, newestFirst bool) (Past, error) {
	if since != nil && !since.isOf(app) {
		return Past{}, ErrPosition
	}
	if h.interests != nil {
		n := name{app, channel}
		if err := h.interests.acquire(ctx, n); err != nil {
			return Past{}, err
		}
		defer h.interests.release(n) //nolint:contextcheck // nobody waits for the call that it begins
	}
	s := h.stream(app)
	if err := s.reach(ctx, since); err != nil {
		return Past{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	past := Past{Position: s.position()}
	after, floor := uint64(0), s.seen()
	if since != nil {
		after = since.Offset
		switch {
		case since.Epoch != s.epoch:
			past.Missing, after = MissingRestarted, 0
		case after > s.last && h.interests == nil:
			return Past{}, ErrPosition
		}
	}
	var ring *ring[P]
	if c := h.find(name{app, channel}); c != nil && c.enter() {
		defer c.mu.Unlock()
		c.expire(time.Since(h.began))
		if c.ring != nil && c.ring.era == s.era {
			ring = c.ring
		}
	}
	var messages []kept
	if ring != nil {
		messages, floor = ring.after(after), ring.floor
	}
	if since != nil && past.Missing == "" && (after < floor || after > s.last) {
		past.Missing = MissingExpired
	}
	if past.More = len(messages) > limit; past.More && newestFirst {
		messages = messages[len(messages)-limit:]
	} else if past.More {
		messages = messages[:limit]
	}
	for _, k := range messages {
		past.Messages = append(past.Messages, PastMessage{
			ID: Position{s.epoch, k.offset}.ID(), Offset: k.offset, Time: h.began.Add(k.at), Text: ring.text(k),
		})
	}
	if newestFirst {
		slices.Reverse(past.Messages)
	}
	return past, nil
}
