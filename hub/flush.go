package hub

// batchSize is how many subscribers are flushed by one goroutine. Their writes
// take it some milliseconds; a larger channel is shared among processors.
// Smaller batches cost more, as processors that write at the same time wait
// for each other in the kernel, and a message that comes next finds fewer
// queues to join.
const batchSize = 1024

// A batch is subscribers that wait to be flushed.
type batch[P any] struct {
	subs []Subscriber[P]
}

// wait adds a subscriber to a batch. One that is full is flushed from a
// goroutine of its own, which ends soon, as a Flush never blocks; so nobody
// waits for it but those subscribers that need to.
func (h *Hub[P]) wait(b *batch[P], sub Subscriber[P]) *batch[P] {
	if b != nil && len(b.subs) == batchSize {
		go h.flush(b)
		b = nil
	}
	if b == nil {
		b, _ = h.free.Get().(*batch[P])
		if b == nil {
			b = new(batch[P])
		}
	}
	b.subs = append(b.subs, sub)
	return b
}

// flushLast flushes the last batch of a message, which is nil if nobody waits.
// A lone subscriber is flushed by the publisher itself, which saves waking
// another goroutine.
func (h *Hub[P]) flushLast(b *batch[P]) {
	switch {
	case b == nil:
	case len(b.subs) == 1:
		h.flush(b)
	default:
		go h.flush(b)
	}
}

func (h *Hub[P]) flush(b *batch[P]) {
	for _, sub := range b.subs {
		sub.Flush()
	}
	clear(b.subs)
	b.subs = b.subs[:0]
	h.free.Put(b)
}
