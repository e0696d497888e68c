package hub

// batchSize is how many subscribers are flushed by one goroutine. Their writes
// take it some milliseconds; a larger channel is shared among processors.
// Smaller batches cost more, as processors that write at the same time wait
// for each other in the kernel, and a message that comes next finds fewer
// queues to join.
const batchSize = 1024

// A batch is some of those that wait to be flushed.
type batch struct{ all []Flusher }

// waiting are those that wait to be flushed after a message: one, or a batch
// with that one in it.
type waiting struct {
	first Flusher
	batch *batch
}

// wait adds one. A batch that is full is flushed from a goroutine of its own,
// which ends soon, as a Flush never blocks; so nobody waits for it but those
// who need to.
func (h *Hub[P]) wait(w *waiting, f Flusher) {
	if w.first == nil {
		w.first = f
		return
	}
	if w.batch != nil && len(w.batch.all) == batchSize {
		go h.flush(w.batch)
		w.batch, w.first = nil, f
		return
	}
	if w.batch == nil {
		w.batch, _ = h.free.Get().(*batch)
		if w.batch == nil {
			w.batch = new(batch)
		}
		w.batch.all = append(w.batch.all, w.first)
	}
	w.batch.all = append(w.batch.all, f)
}

// flushLast flushes the last batch of a message. One that is alone is flushed
// by the publisher itself, which saves waking another goroutine.
func (h *Hub[P]) flushLast(w *waiting) {
	switch {
	case w.batch != nil:
		go h.flush(w.batch)
	case w.first != nil:
		w.first.Flush()
	}
}

func (h *Hub[P]) flush(b *batch) {
	for _, f := range b.all {
		f.Flush()
	}
	clear(b.all)
	b.all = b.all[:0]
	h.free.Put(b)
}
