package webhook

import (
	"container/list"
	"sync"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/lean"
)

// maxHeld is how many events a Debounce holds. With more, the oldest are emitted
// early.
const maxHeld = 100_000

// A Debounce holds events for a while, in case they are taken back: a page that
// reloads vacates its channel and occupies it again.
type Debounce struct {
	emit func(Event)
	wait time.Duration
	wake chan struct{} // has a value after the first event was held
	quit chan struct{}
	work sync.WaitGroup

	mu     sync.Mutex // guards the fields below; held while emit runs, so that events of a key stay in order
	most   int
	byKey  lean.Map[string, *list.Element]
	queue  list.List // of held, the oldest first
	closed bool
}

type held struct {
	key   string
	event Event
	due   time.Time
}

// NewDebounce returns a Debounce that emits events after wait. emit must not block
// or call the Debounce. Close must be called.
func NewDebounce(emit func(Event), wait time.Duration) *Debounce {
	d := &Debounce{
		emit: emit, wait: wait, most: maxHeld,
		wake: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	d.work.Go(d.run)
	return d
}

// Hold emits the event after the wait, with the time of now unless it has one,
// unless TakeBack is called with its key. While an event is held, further ones
// with its key are ignored. After Close, it emits the event immediately.
func (d *Debounce) Hold(key string, e Event) {
	now := time.Now()
	if e.Time.IsZero() {
		e.Time = now
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		d.emit(e)
		return
	}
	if d.byKey.Get(key) != nil {
		return
	}
	if d.queue.Len() >= d.most {
		d.emitFirst()
	}
	d.byKey.Set(key, d.queue.PushBack(held{key, e, now.Add(d.wait)}))
	if d.queue.Len() == 1 {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

// TakeBack discards the event that is held with that key. It reports whether
// there was one; the event that takes it back is then not to be emitted either.
// Otherwise the held event, if any, was emitted before TakeBack returned.
func (d *Debounce) TakeBack(key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	element := d.byKey.Get(key)
	if element == nil {
		return false
	}
	d.byKey.Delete(key)
	d.queue.Remove(element)
	return true
}

// Close emits everything that is held, in order.
func (d *Debounce) Close() {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return
	}
	d.closed = true
	for d.queue.Len() > 0 {
		d.emitFirst()
	}
	d.mu.Unlock()
	close(d.quit)
	d.work.Wait()
}

// emitFirst emits the oldest event. The caller must hold mu.
func (d *Debounce) emitFirst() {
	first := d.queue.Remove(d.queue.Front()).(held)
	d.byKey.Delete(first.key)
	d.emit(first.event)
}

func (d *Debounce) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-d.quit:
			return
		case <-d.wake:
		case <-timer.C:
		}
		if next, some := d.emitDue(); some {
			timer.Reset(time.Until(next))
		}
	}
}

// emitDue emits the events whose wait is over, and returns when that of the next
// one is.
func (d *Debounce) emitDue() (next time.Time, some bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.queue.Len() > 0 {
		if due := d.queue.Front().Value.(held).due; time.Until(due) > 0 {
			return due, true
		}
		d.emitFirst()
	}
	return time.Time{}, false
}
