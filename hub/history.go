package hub

import (
	"iter"
	"sync"
	"sync/atomic"
	"time"
)

// Keep says how long a channel's history keeps a message.
type Keep struct {
	// Messages is how many of the channel's newest messages are kept. 0 means
	// that no message is.
	Messages int

	// Age is how long a message is kept.
	Age time.Duration
}

// A history is the messages that all channels keep, and a bound for their
// memory.
type history[P any] struct {
	messages atomic.Int64
	bytes    atomic.Int64
	limit    atomic.Int64 // of bytes; 0 means no limit
	evicted  atomic.Uint64

	mu     sync.Mutex // guards oldest and the places in it; locked after a channel's
	oldest byAge[P]   // the channels that keep messages
}

// History counts the messages in the history of all channels.
type History struct {
	Messages int
	Bytes    int64 // that they take in memory, roughly

	// Evicted counts the messages that left the history because of its bound
	// for memory, since the start.
	Evicted uint64
}

// Costs of a message and of a channel without subscribers, in bytes, besides
// what their texts take, as measured. Twice that is resident, because the garbage
// collector lets the heap double.
const (
	keptSize   = 80
	recordSize = 400
)

// sizeOf returns what the messages of a channel take in memory. A ninth of the
// memory for texts is not used.
func sizeOf(channel string, messages, texts int) int64 {
	if messages == 0 {
		return 0
	}
	return 2 * int64(recordSize+len(channel)+messages*keptSize+texts+texts/8)
}

// recount counts a change to the channel's ring, which had that size before. The
// caller holds the channel's mu.
func (c *channel[P]) recount(messages int, before int64) {
	h := &c.stream.hub.history
	h.messages.Add(int64(messages))
	h.bytes.Add(c.size() - before)
}

// size returns what the channel's messages take in memory. The caller holds the
// channel's mu.
func (c *channel[P]) size() int64 { return sizeOf(c.name.channel, c.ring.len(), c.ring.size) }

// history returns the channel's ring in the current era, and creates it if
// necessary. The caller holds the stream's mu and the channel's.
func (c *channel[P]) history() *ring[P] {
	s := c.stream
	if c.ring == nil {
		c.ring = &ring[P]{floor: s.seen(), era: s.era}
	} else if r := c.ring; r.era != s.era {
		c.evict(r.len())
		r.floor, r.era, r.whole = s.seen(), s.era, false
	}
	return c.ring
}

// seen returns the offset from which on the hub knows all messages of a channel
// without a record. An Interested broker has not delivered those before now. The
// caller holds mu.
func (s *stream[P]) seen() uint64 {
	if s.hub.interests != nil {
		return s.last
	}
	return s.floor.Load()
}

// skip says that a message is not in the channel's history, and nothing before
// it. The caller holds the stream's mu and the channel's.
func (c *channel[P]) skip(offset uint64) {
	if c.ring == nil {
		c.stream.raise(offset)
		return
	}
	r := c.history()
	c.evict(r.len())
	r.floor = offset
}

// keep adds a message to the channel's history. The caller holds the stream's mu
// and the channel's.
func (c *channel[P]) keep(m *Message, payload P) {
	h := c.stream.hub
	r := c.history()
	now := time.Since(h.began)
	c.expire(now)
	c.evict(r.len() - (m.Keep.Messages - 1))
	c.add(kept{offset: m.Offset, at: now, until: now + m.Keep.Age}, m.Except, h.codec.Text(payload))
}

// add adds a message to the channel's ring. The caller holds the channel's mu.
func (c *channel[P]) add(k kept, except string, text []byte) {
	before := c.size()
	if c.ring.add(k, except, text); c.ring.len() == 1 {
		c.stream.hub.history.list(c)
	}
	c.recount(1, before)
}

// evict removes the n oldest messages, if there are any. The caller holds the
// channel's mu.
func (c *channel[P]) evict(n int) {
	if n = min(n, c.ring.len()); n <= 0 {
		return
	}
	before := c.size()
	if c.ring.remove(n); c.ring.len() == 0 {
		c.stream.hub.history.unlist(c)
	}
	c.recount(-n, before)
}

// payload makes the payload of a message from its text, unless it was made
// lately. The caller holds the stream's mu and the channel's.
func (c *channel[P]) payload(offset uint64, text []byte) P {
	r := c.ring
	if p, ok := r.replayed[offset]; ok {
		return p
	}
	s := c.stream
	p, err := s.hub.codec.Payload(text, Position{s.epoch, offset}.ID())
	if err != nil {
		panic(err) // it was made of a payload, or Restore has tried it
	}
	if r.replayed == nil {
		r.replayed = make(map[uint64]P)
	}
	r.replayed[offset] = p
	return p
}

// expire removes the messages that are too old. One that would have to go before an older
// one stays as long as that, so that there is no gap in what is kept. The caller holds
// the channel's mu.
func (c *channel[P]) expire(now time.Duration) {
	if c.ring == nil {
		return
	}
	n := 0
	for _, k := range c.ring.entries() {
		if k.until > now {
			break
		}
		n++
	}
	c.evict(n)
}

// isOver reports whether the history is over its bound.
func (h *history[P]) isOver() bool {
	limit := h.limit.Load()
	return limit > 0 && h.bytes.Load() > limit
}

// bound evicts the oldest messages while the history is over its bound. The
// caller holds no channel's mu.
func (h *history[P]) bound() {
	for h.isOver() {
		c := h.first()
		if c == nil {
			return
		}
		c.mu.Lock()
		if h.isOver() && h.isOldest(c) {
			h.evicted.Add(1)
			c.evict(1)
			c.drop()
		}
		c.mu.Unlock()
	}
}

// History returns what all channels keep.
func (h *Hub[P]) History() History {
	return History{int(h.history.messages.Load()), h.history.bytes.Load(), h.history.evicted.Load()}
}

// sweepHistory removes messages that are too old, the records of channels that
// have nothing left, and the payloads that were made for replays.
func (h *Hub[P]) sweepHistory() {
	now := time.Since(h.began)
	for c := range h.records() {
		c.mu.Lock()
		if c.ring != nil {
			c.ring.replayed = nil
			c.expire(now)
			c.filled = max(0, c.filled-1)
			c.drop()
		}
		c.mu.Unlock()
	}
}

// records yields the records of all channels, and holds no lock meanwhile.
func (h *Hub[P]) records() iter.Seq[*channel[P]] {
	return func(yield func(*channel[P]) bool) {
		var some []*channel[P]
		for i := range h.shards {
			s := &h.shards[i]
			some = some[:0]
			s.mu.RLock()
			for _, c := range s.channels.All() {
				some = append(some, c)
			}
			s.mu.RUnlock()
			for _, c := range some {
				if !yield(c) {
					return
				}
			}
		}
	}
}
