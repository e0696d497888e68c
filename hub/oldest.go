package hub

import (
	"container/heap"
	"time"
)

// An age orders messages: those of one moment and app by their offsets.
type age struct {
	at     time.Duration
	offset uint64
}

// oldest returns the age of the oldest message.
func (r *ring[P]) oldest() age {
	k := &r.all[r.start]
	return age{k.at, k.offset}
}

// byAge is a heap of channels, that with the oldest message first. The age of a
// channel's oldest message is looked up when that matters, not when it changes:
// it only gets later.
type byAge[P any] []*channel[P]

// list adds a channel that keeps its first message. The caller holds the
// channel's mu.
func (h *history[P]) list(c *channel[P]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.ring.since = c.ring.oldest()
	heap.Push(&h.oldest, c)
}

// unlist removes a channel. The caller holds the channel's mu.
func (h *history[P]) unlist(c *channel[P]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	heap.Remove(&h.oldest, c.ring.place-1)
}

// first returns the channel that had the oldest message, or nil if there is none.
func (h *history[P]) first() *channel[P] {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.oldest) == 0 {
		return nil
	}
	return h.oldest[0]
}

// isOldest reports whether the channel has the oldest message. The caller holds
// the channel's mu.
func (h *history[P]) isOldest(c *channel[P]) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.ring.place == 0 {
		return false
	}
	c.ring.since = c.ring.oldest()
	heap.Fix(&h.oldest, c.ring.place-1)
	return h.oldest[0] == c
}

// Len implements heap.Interface.
func (b byAge[P]) Len() int { return len(b) }

// Less implements heap.Interface.
func (b byAge[P]) Less(i, j int) bool {
	x, y := b[i].ring.since, b[j].ring.since
	return x.at < y.at || x.at == y.at && x.offset < y.offset
}

// Swap implements heap.Interface.
func (b byAge[P]) Swap(i, j int) {
	b[i], b[j] = b[j], b[i]
	b[i].ring.place, b[j].ring.place = i+1, j+1
}

// Push implements heap.Interface.
func (b *byAge[P]) Push(c any) {
	added := c.(*channel[P]) //nolint:forcetypeassert // what list pushes
	*b = append(*b, added)
	added.ring.place = len(*b)
}

// Pop implements heap.Interface.
func (b *byAge[P]) Pop() any {
	last := len(*b) - 1
	c := (*b)[last]
	(*b)[last] = nil
	*b = (*b)[:last]
	c.ring.place = 0
	return c
}

// Interface guard
var _ heap.Interface = (*byAge[struct{}])(nil)
