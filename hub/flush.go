package hub

import "sync"

// batchSize is how many subscribers are flushed by one goroutine. Their writes
// take it some milliseconds; a larger channel is shared among processors.
// Smaller batches cost more, as processors that write at the same time wait
// for each other in the kernel, and a message that comes next finds fewer
// queues to join.
const batchSize = 1024

// A batch is some of those that wait to be flushed. It is owed by its channel.
type batch[P any] struct {
	channel *channel[P]
	all     []Flusher
	begun   sync.WaitGroup
}

// waiting are those that wait to be flushed after a message: one, or a batch
// with that one in it.
type waiting[P any] struct {
	first Flusher
	batch *batch[P]
}

// wait adds one. A batch that is full is flushed from a goroutine of its own,
// which ends soon, as a Flush never blocks; so nobody waits for it but those
// who need to. It needs the channel's mu.
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

// delivery is what the broker is to flush. One who is alone is flushed by the
// publisher itself, which saves waking another goroutine; what that one
// leaves to another is not waited for, as it would be waking one.
func (w *waiting[P]) delivery(subscribers int) Delivery {
	d := Delivery{Subscribers: subscribers, first: w.first}
	if w.batch != nil { // else a nil in an interface
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
	c.hub.free.Put(b)
}
