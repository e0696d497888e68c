package hub

import (
	"cmp"
	"iter"
	"slices"
	"sync"
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

// A history is the messages that all channels keep, from the oldest to the
// newest, and a bound for their memory.
type history[P any] struct {
	mu          sync.Mutex // guards everything below; locked after a channel's
	first, last *entry[P]
	limit       int64 // bytes; 0 means no limit
	kept        History
}

// History counts the messages in the history of all channels.
type History struct {
	Messages int
	Bytes    int64 // that they take in memory, roughly

	// Evicted counts the messages that left the history because of its bound
	// for memory, since the start.
	Evicted uint64
}

// An entry is one message in the history of its channel.
type entry[P any] struct {
	payload    P
	channel    *channel[P]
	offset     uint64
	at, until  time.Duration // since the hub's start; it is not in the history from until on
	except     string
	bytes      int       // of the payload
	size       int64     // in memory; guarded by the history's mu: 0 once it is no longer in the list
	next, prev *entry[P] // likewise
}

// A ring is the history of one channel, guarded by the channel's mu.
type ring[P any] struct {
	entries []*entry[P] // in order of offsets

	// floor is the offset after which everything published to the channel is in
	// entries, except messages that are never kept.
	floor uint64

	era uint32 // the stream's era that this belongs to
}

// Costs of a message and of a channel without subscribers, in bytes, besides
// what their texts take, as measured. Twice that is resident, because the garbage
// collector lets the heap double.
const (
	entrySize  = 230
	recordSize = 240
)

// history returns the channel's ring in the current era, and creates it if
// necessary. The caller holds the stream's mu and the channel's.
func (c *channel[P]) history() *ring[P] {
	s := c.stream
	switch r := c.ring; {
	case r == nil:
		c.ring = &ring[P]{floor: s.seen(), era: s.era}
	case r.era != s.era:
		c.evict(len(r.entries))
		*r = ring[P]{floor: s.seen(), era: s.era}
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
	c.evict(len(r.entries))
	r.floor = offset
}

// keep adds a message to the channel's history. The caller holds the stream's mu
// and the channel's.
func (c *channel[P]) keep(m *Message, payload P) {
	h := c.stream.hub
	r := c.history()
	now := time.Since(h.began)
	c.expire(now)
	c.evict(len(r.entries) - (m.Keep.Messages - 1))
	e := &entry[P]{
		payload: payload, channel: c, offset: m.Offset, at: now, until: now + m.Keep.Age, except: m.Except,
		bytes: h.codec.Keep(payload),
	}
	e.size = c.cost(e)
	r.entries = append(r.entries, e)
	h.history.add(e)
}

// cost returns what the next message takes in memory; the channel's first pays
// for its record. The caller holds the channel's mu.
func (c *channel[P]) cost(e *entry[P]) int64 {
	size := int64(e.bytes) + entrySize
	if len(c.ring.entries) == 0 {
		size += recordSize + int64(len(c.name.channel))
	}
	return 2 * size
}

// evict removes the n oldest messages, if there are any. The caller holds the
// channel's mu.
func (c *channel[P]) evict(n int) {
	if n <= 0 || len(c.ring.entries) == 0 {
		return
	}
	r := c.ring
	n = min(n, len(r.entries))
	c.stream.hub.history.remove(r.entries[:n])
	r.floor = r.entries[n-1].offset
	clear(r.entries[:n])
	if r.entries = r.entries[n:]; len(r.entries) == 0 {
		r.entries = nil
	}
}

// expire removes the messages that are too old. The caller holds the channel's
// mu.
func (c *channel[P]) expire(now time.Duration) {
	if c.ring == nil {
		return
	}
	n := 0
	for _, e := range c.ring.entries {
		if e.until > now {
			break
		}
		n++
	}
	c.evict(n)
}

func (h *history[P]) add(e *entry[P]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e.prev = h.last
	if h.last != nil {
		h.last.next = e
	} else {
		h.first = e
	}
	h.last = e
	h.kept.Messages++
	h.kept.Bytes += e.size
}

func (h *history[P]) remove(entries []*entry[P]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range entries {
		h.unlist(e)
	}
}

// unlist removes an entry unless it is no longer listed. The caller holds mu.
func (h *history[P]) unlist(e *entry[P]) {
	if e.size == 0 {
		return
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		h.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		h.last = e.prev
	}
	h.kept.Messages--
	h.kept.Bytes -= e.size
	e.next, e.prev, e.size = nil, nil, 0
}

// oldest unlists and returns the oldest message if the history is over its
// bound, otherwise nil.
func (h *history[P]) oldest() *entry[P] {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.first
	if e == nil || h.limit <= 0 || h.kept.Bytes <= h.limit {
		return nil
	}
	h.kept.Evicted++
	h.unlist(e)
	return e
}

// bound evicts the oldest messages while the history is over its bound. The
// caller holds no channel's mu.
func (h *history[P]) bound() {
	for e := h.oldest(); e != nil; e = h.oldest() {
		c := e.channel
		c.mu.Lock()
		n := 0
		if c.ring != nil {
			for n < len(c.ring.entries) && c.ring.entries[n].offset <= e.offset {
				n++
			}
			c.evict(n)
		}
		c.drop()
		c.mu.Unlock()
	}
}

// History returns what all channels keep.
func (h *Hub[P]) History() History {
	h.history.mu.Lock()
	defer h.history.mu.Unlock()
	return h.history.kept
}

// sweepHistory removes messages that are too old, and the records of channels
// that have nothing left.
func (h *Hub[P]) sweepHistory() {
	now := time.Since(h.began)
	for c := range h.records() {
		c.mu.Lock()
		if c.ring != nil {
			c.expire(now)
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

// after returns the messages after an offset.
func (r *ring[P]) after(offset uint64) []*entry[P] {
	i, _ := slices.BinarySearchFunc(r.entries, offset+1, byOffset[P])
	return r.entries[i:]
}

// at returns the message with that offset, or nil.
func (r *ring[P]) at(offset uint64) *entry[P] {
	if i, ok := slices.BinarySearchFunc(r.entries, offset, byOffset[P]); ok {
		return r.entries[i]
	}
	return nil
}

func byOffset[P any](e *entry[P], offset uint64) int { return cmp.Compare(e.offset, offset) }
