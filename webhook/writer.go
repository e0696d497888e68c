package webhook

import (
	"sync"
	"time"
)

// A writer moves what is pending from memory to the journals, in a goroutine of
// its own: Emit must not wait for a disk.
type writer struct {
	gather time.Duration // how long to collect events, for fewer writes
	wake   chan struct{} // has a value if dirty is not empty
	quit   chan struct{}
	work   sync.WaitGroup

	mu    sync.Mutex // guards dirty; locked after a queue's mu
	dirty []*queue
}

func newWriter(gather time.Duration) *writer {
	w := &writer{gather: gather, wake: make(chan struct{}, 1), quit: make(chan struct{})}
	w.work.Go(w.run)
	return w
}

// add tells the writer that a queue has pending events.
func (w *writer) add(q *queue) {
	w.mu.Lock()
	w.dirty = append(w.dirty, q)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *writer) run() {
	for {
		select {
		case <-w.quit:
			w.flush()
			return
		case <-w.wake:
		}
		select {
		case <-w.quit:
		case <-time.After(w.gather):
		}
		w.flush()
	}
}

// flush writes everything that is pending.
func (w *writer) flush() {
	w.mu.Lock()
	dirty := w.dirty
	w.dirty = nil
	w.mu.Unlock()
	for _, q := range dirty {
		q.flush()
	}
}

// close writes everything that is pending, and ends the goroutine.
func (w *writer) close() {
	close(w.quit)
	w.work.Wait()
}
