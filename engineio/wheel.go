package engineio

import (
	"sync"
	"sync/atomic"
	"time"
)

// A wheel calls sessions at their deadlines, with one goroutine and no heap
// however many there are. Calls come within a tick of the deadline, never
// early.
type wheel struct {
	call  func(*Session, time.Time)
	start time.Time
	once  sync.Once
	quit  chan struct{}
	ended chan struct{}
	busy  chan struct{} // wakes the wheel when it gets its first timer

	ticked atomic.Pointer[tick]

	mu    sync.Mutex // guards the timers and everything below
	slots [wheelSlots]*timer
	turn  int64 // the last tick served
	count int
}

const (
	// wheelTick is the wheel's precision.
	wheelTick = 25 * time.Millisecond

	// wheelSlots makes a turn 51.2 s long, longer than the usual deadlines, so
	// that a timer is checked once.
	wheelSlots = 2048
)

// A tick is a time at which the wheel checked its timers.
type tick struct {
	at time.Time

	// The last time that the process was stopped: two ticks more than stopLimit
	// apart. Both are zero if it never was.
	stopped, resumed time.Time
}

// stopLimit is longer than the gap between ticks on a machine that is merely
// busy.
const stopLimit = 8 * wheelTick

// tick records a tick.
func (w *wheel) tick(now time.Time) {
	last := w.ticked.Load()
	next := &tick{at: now, stopped: last.stopped, resumed: last.resumed}
	if now.Sub(last.at) > stopLimit {
		next.stopped, next.resumed = last.at, now
	}
	w.ticked.Store(next)
}

// missed reports whether the process was stopped at that time: by SIGSTOP, by a
// debugger, because its virtual machine was moved, or because it got no CPU.
func (w *wheel) missed(at, now time.Time) bool {
	last := w.ticked.Load()
	if now.Sub(last.at) > stopLimit && at.After(last.at) {
		return true // the wheel has not turned since
	}
	return at.After(last.stopped) && !at.After(last.resumed)
}

// lost returns how much of the process's last stop lies after from.
func (w *wheel) lost(from time.Time) time.Duration {
	last := w.ticked.Load()
	if from.After(last.stopped) {
		return max(0, last.resumed.Sub(from))
	}
	return last.resumed.Sub(last.stopped)
}

// A timer is a session's place in the wheel.
type timer struct {
	session    *Session
	prev, next *timer
	tick       int64 // 0 if not in the wheel
}

func startWheel(call func(*Session, time.Time)) *wheel {
	w := &wheel{
		call:  call,
		start: time.Now(),
		quit:  make(chan struct{}),
		ended: make(chan struct{}),
		busy:  make(chan struct{}, 1),
	}
	w.ticked.Store(&tick{at: w.start})
	go w.run()
	return w
}

// stop ends the wheel and waits for it.
func (w *wheel) stop() {
	w.once.Do(func() { close(w.quit) })
	<-w.ended
}

func (w *wheel) run() {
	defer close(w.ended)
	ticker := time.NewTicker(wheelTick)
	defer ticker.Stop()
	for {
		select {
		case <-w.quit:
			return
		case now := <-ticker.C:
			w.tick(now)
			for _, t := range w.due(now) {
				w.call(t.session, now)
			}
		}
		w.mu.Lock()
		idle := w.count == 0
		w.mu.Unlock()
		if idle {
			ticker.Stop()
			select {
			case <-w.quit:
				return
			case <-w.busy:
				w.ticked.Store(&tick{at: time.Now()})
				ticker.Reset(wheelTick)
			}
		}
	}
}

// due removes and returns the timers whose time has come.
func (w *wheel) due(now time.Time) []*timer {
	w.mu.Lock()
	defer w.mu.Unlock()
	var due []*timer
	last := int64(now.Sub(w.start) / wheelTick)
	// After a pause of more than a turn, each slot needs one check.
	for tick := max(w.turn+1, last-wheelSlots+1); tick <= last; tick++ {
		for t := w.slots[tick%wheelSlots]; t != nil; {
			next := t.next
			if t.tick <= last {
				w.unlink(t)
				due = append(due, t)
			}
			t = next
		}
	}
	w.turn = max(w.turn, last)
	return due
}

// schedule sets or moves a timer.
func (w *wheel) schedule(t *timer, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(t)
	t.tick = max(w.turn+1, int64((at.Sub(w.start)+wheelTick-1)/wheelTick))
	slot := &w.slots[t.tick%wheelSlots]
	t.next = *slot
	if t.next != nil {
		t.next.prev = t
	}
	*slot = t
	if w.count++; w.count == 1 {
		select {
		case w.busy <- struct{}{}:
		default:
		}
	}
}

// remove removes a timer; a call for it may still be running.
func (w *wheel) remove(t *timer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(t)
}

// unlink removes a timer if it is in the wheel. The caller holds mu.
func (w *wheel) unlink(t *timer) {
	if t.tick == 0 {
		return
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		w.slots[t.tick%wheelSlots] = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.prev, t.next, t.tick = nil, nil, 0
	w.count--
}
