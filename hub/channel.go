package hub

import (
	"hash/maphash"
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/internal/lean"
)

// shardCount bounds how many goroutines can look up or change channels at once.
const shardCount = 64

// name identifies a channel. It includes the app, so apps never share channels.
type name struct{ app, channel string }

type shard[P any] struct {
	mu       sync.RWMutex // guards channels
	channels lean.Map[name, *channel[P]]
}

// A channel is the record of a channel that has subscribers or a history, or
// that sessions which are away were in. Its lock is held while a message is
// handed to the subscribers, so that messages do not interleave, and a
// subscription falls between two messages.
type channel[P any] struct {
	stream *stream[P]
	name   name

	mu   sync.Mutex         // guards everything below
	subs []*subscription[P] // in no particular order
	ring *ring[P]           // nil until needed
	pins int32              // of sessions that are away
	gone bool               // the record is no longer in the map

	// filled is how many sweeps the record still waits for the subscribers for whom
	// Fill has made it.
	filled int8

	unflushed int           // bytes of messages since all subscribers were flushed
	owed      int           // publishes and batches in flight
	flushed   chan struct{} // if not nil, closed when owed drops to 0
}

// enter locks the channel, unless it is gone.
func (c *channel[P]) enter() bool {
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		return false
	}
	return true
}

// queue queues a payload for all subscribers but the one with the ID except, which
// can be "", and returns how many they are. The caller holds mu.
func (c *channel[P]) queue(w *waiting[P], payload P, except string) int {
	others := len(c.subs)
	for _, sub := range c.subs {
		if except != "" && sub.member.to.ID() == except {
			others--
			continue
		}
		if f := sub.member.to.Queue(payload); f != nil {
			c.stream.hub.wait(c, w, f)
		}
	}
	return others
}

// find returns the record of a channel, or nil if there is none.
func (h *Hub[P]) find(key name) *channel[P] {
	s := h.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.channels.Get(key)
}

func (h *Hub[P]) shard(n name) *shard[P] {
	return &h.shards[maphash.Comparable(h.seed, n)%shardCount]
}

// channel finds or creates a channel, which may be gone again by the time the
// caller holds its lock.
func (s *stream[P]) channel(of string) *channel[P] {
	n := name{s.app, of}
	shard := s.hub.shard(n)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	c := shard.channels.Get(n)
	if c == nil {
		c = &channel[P]{stream: s, name: n}
		shard.channels.Set(n, c)
	}
	return c
}

// unheld drops the record of a channel in which nobody has an interest any longer.
func (h *Hub[P]) unheld(n name) {
	if c := h.find(n); c != nil && c.enter() {
		c.drop()
		c.mu.Unlock()
	}
}

// drop removes the record from the map if nothing is left of it. The history of
// an Interested broker's channel ends with the last interest in it, because the hub
// does not get its messages any longer. Those who wait to subscribe count on it, too:
// the broker does not fill it again for them. The caller holds mu.
func (c *channel[P]) drop() {
	if c.gone || len(c.subs) > 0 || c.pins > 0 || c.filled > 0 {
		return
	}
	h := c.stream.hub
	if h.interests != nil && h.interests.isHeld(c.name) {
		return
	}
	if c.ring != nil {
		if c.ring.len() > 0 && h.interests == nil {
			return
		}
		c.evict(c.ring.len())
		c.stream.raise(c.ring.floor)
	}
	c.gone = true
	s := h.shard(c.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channels.Delete(c.name)
}
