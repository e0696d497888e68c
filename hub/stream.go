package hub

import (
	"sync"
	"sync/atomic"
)

// A stream is the messages of one app, in order.
type stream[P any] struct {
	hub *Hub[P]
	app string

	// mu guards epoch, last and era. It is held while a message is queued for
	// its subscribers, while a client that comes back gets what it has missed,
	// and while a member that can come back joins a channel: each falls between
	// two messages. It is locked before the channels' locks.
	mu    sync.Mutex
	epoch string // "" if unknown
	last  uint64
	era   uint32 // changes with epoch

	// floor is at least the offset of every message that was published to a
	// channel without a record and is not in its history.
	floor atomic.Uint64

	away awayList[P] // guarded by the hub's sessions.mu
}

// stream finds or creates an app's stream.
func (h *Hub[P]) stream(app string) *stream[P] {
	h.streamsMu.RLock()
	s := h.streams.Get(app)
	h.streamsMu.RUnlock()
	if s != nil {
		return s
	}
	s = &stream[P]{hub: h, app: app}
	if local, ok := h.broker.(Local); ok {
		p := local.Position(app) // with no lock: the broker delivers with its own
		s.epoch, s.last = p.Epoch, p.Offset
	}
	h.streamsMu.Lock()
	defer h.streamsMu.Unlock()
	if made := h.streams.Get(app); made != nil {
		return made
	}
	h.streams.Set(app, s)
	return s
}

// position returns where the stream stands. The caller holds mu.
func (s *stream[P]) position() Position { return Position{s.epoch, s.last} }

// advance moves the stream to a message. In a new epoch, nothing is known of the
// messages before it; in the first that the broker says, what was kept since
// then is still in a row. The caller holds mu.
func (s *stream[P]) advance(p Position) {
	if p.Epoch != s.epoch {
		if s.epoch != "" {
			s.era++
		}
		s.epoch = p.Epoch
		s.floor.Store(p.Offset - 1)
	}
	s.last = p.Offset
}

// stand moves the stream to where it is said to stand, unless it is there. The hub does
// not have the messages before that. The caller holds mu.
func (s *stream[P]) stand(at Position) {
	switch {
	case at.Epoch != s.epoch:
		s.advance(Position{at.Epoch, at.Offset + 1})
		s.last = at.Offset
	case at.Offset > s.last:
		s.last = at.Offset
	}
}

// raise raises floor.
func (s *stream[P]) raise(offset uint64) {
	for {
		now := s.floor.Load()
		if now >= offset || s.floor.CompareAndSwap(now, offset) {
			return
		}
	}
}
