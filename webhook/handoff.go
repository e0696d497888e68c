package webhook

import (
	"sync"

	"go.uber.org/zap"
)

// Bounds of what a Handoff holds.
const (
	maxHandoff      = 10_000
	maxHandoffBytes = 16 << 20
)

// A Handoff calls a function with events, in order, in a goroutine of its own:
// whoever adds them does not wait for it.
type Handoff struct {
	do   func(Event)
	log  *zap.Logger
	wake chan struct{} // has a value if there may be pending events
	quit chan struct{}
	done chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex // guards the fields below; not held while do runs
	most    int
	pending []Event
	bytes   int    // of pending
	dropped uint64 // since pending was full; logged once the function has caught up
	closed  bool
}

// NewHandoff returns a Handoff to do. Close must be called.
func NewHandoff(do func(Event), log *zap.Logger) *Handoff {
	h := &Handoff{
		do: do, log: log, most: maxHandoff,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	go h.run()
	return h
}

// Add adds an event. It does not wait: with 10,000 events or 16 MiB pending, the event
// is dropped. After Close, it does nothing.
func (h *Handoff) Add(e Event) {
	if h.add(e) {
		h.log.Warn("events are dropped: the handlers of Caddy's events app are too slow")
	}
}

// add reports whether the event is the first of several that are dropped.
func (h *Handoff) add(e Event) (firstDropped bool) {
	size := e.size()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return false
	case h.dropped > 0, len(h.pending) >= h.most, h.bytes+size > maxHandoffBytes:
		h.dropped++
		return h.dropped == 1
	}
	h.pending = append(h.pending, e)
	h.bytes += size
	select {
	case h.wake <- struct{}{}:
	default:
	}
	return false
}

// Close ends the Handoff when the function has got everything that is pending. The
// channel is closed after that; the caller waits for it.
func (h *Handoff) Close() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.quit)
	}
	return h.done
}

func (h *Handoff) run() {
	defer close(h.done)
	for {
		select {
		case <-h.quit:
			h.flush()
			return
		case <-h.wake:
			h.flush()
		}
	}
}

// flush calls the function until nothing is pending.
func (h *Handoff) flush() {
	for {
		events := h.take()
		if len(events) == 0 {
			return
		}
		for i := range events {
			h.do(events[i])
			h.release(&events[i])
			events[i] = Event{}
		}
	}
}

// take removes and returns what is pending. Its bytes count until release.
func (h *Handoff) take() []Event {
	h.mu.Lock()
	events, dropped := h.pending, h.dropped
	h.pending, h.dropped = nil, 0
	h.mu.Unlock()
	if dropped > 0 {
		h.log.Warn("events were dropped: the handlers of Caddy's events app were too slow", zap.Uint64("events", dropped))
	}
	return events
}

func (h *Handoff) release(e *Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bytes -= e.size()
}
