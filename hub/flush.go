package hub

import "sync"

// batchSize is how many subscribers one goroutine flushes. Their writes take it
// some milliseconds; a larger channel is shared among processors. Smaller
// batches cost more: processors that write at the same time wait for each other
// in the kernel, and the next message finds fewer queues to join.
const batchSize = 1024

// A batch is a group of subscribers that wait for a flush. Its channel counts
// it in owed.
type batch[P any] struct {
	channel *channel[P]
	all     []Flusher
	begun   sync.WaitGroup
}

// waiting holds the subscribers that wait for a flush after a message: a single
// one, or a batch that includes first.
type waiting[P any] struct {
	first Flusher
	batch *batch[P]
}

// wait adds a subscriber. A full batch is flushed from a goroutine of its own,
// which ends soon because a Flush never blocks; so nothing waits for it unless
// it must. The caller holds the channel's mu.
func (h *Hub[P]) wait(c *channel[P], w *waiting[P], f Flusher) {
	if w.first == nil {
		w.first = f
		return
	}
	if w.batch != nil && len(w.batch.all) == batchSize {
		go w.batch.flush()
		w.batch, w.first = nil, f
		return
	}
	if w.batch == nil {
		w.batch, _ = h.free.Get().(*batch[P])
		if w.batch == nil {
			w.batch = new(batch[P])
		}
		c.owed++
		w.batch.channel = c
		w.batch.all = append(w.batch.all, w.first)
	}
	w.batch.all = append(w.batch.all, f)
}

// delivery returns what the broker must flush. The publisher flushes a single
// subscriber itself, which saves waking another goroutine. It does not wait for
// what that Flush leaves to another goroutine, because that would again mean
// waking one.
func (w *waiting[P]) delivery(subscribers int) Delivery {
	d := Delivery{Subscribers: subscribers, first: w.first}
	if w.batch != nil { // otherwise the interface would hold a nil pointer
		d.batch = w.batch
	}
	return d
}

func (b *batch[P]) flush() {
	for _, f := range b.all {
		f.Flush(&b.begun)
	}
	b.begun.Wait()
	c := b.channel
	c.settle()
	clear(b.all)
	b.channel, b.all = nil, b.all[:0]
	c.stream.hub.free.Put(b)
}
