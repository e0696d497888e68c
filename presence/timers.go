package presence

import (
	"container/heap"
	"math"
	"time"
)

// A timer is the end of a member's grace, or the next count of a large channel.
type timer struct {
	at      time.Duration // since the Presence was created
	index   int           // in timers; -1 once it is due
	stopped bool
	channel *channel
	member  *member // nil for a count
}

// start adds a timer. The caller holds mu.
func (p *Presence) start(t *timer) *timer {
	heap.Push(&p.timers, t)
	if t.index == 0 {
		select {
		case p.wake <- struct{}{}:
		default: // the owner has yet to notice another
		}
	}
	return t
}

// stop stops a timer, even one that is due but has not expired yet. t may be nil.
// The caller holds mu.
func (p *Presence) stop(t *timer) {
	if t == nil {
		return
	}
	t.stopped = true
	if t.index >= 0 {
		heap.Remove(&p.timers, t.index)
	}
}

// run expires the timers until the Presence is closed.
func (p *Presence) run() {
	clock := time.NewTimer(0)
	defer clock.Stop()
	for {
		select {
		case <-p.closed:
			return
		case <-clock.C:
		case <-p.wake:
		}
		for !p.isClosed() {
			t, wait := p.due()
			if t == nil {
				clock.Reset(wait)
				break
			}
			p.expire(t)
		}
	}
}

func (p *Presence) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

// idle is how long run waits if there is no timer.
const idle = math.MaxInt64

// due removes a timer that is due, or returns how long the next has to wait.
func (p *Presence) due() (t *timer, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.timers) == 0 {
		return nil, idle
	}
	if wait = p.timers[0].at - p.now(); wait > 0 {
		return nil, wait
	}
	t, _ = heap.Pop(&p.timers).(*timer)
	return t, 0
}

// timers is a heap of timers, the next one first.
type timers []*timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at < h[j].at }

func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *timers) Push(x any) {
	t, _ := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	if cap(*h) > 64 && last < cap(*h)/4 {
		*h = append(make(timers, 0, 2*last), *h...)
	}
	t.index = -1
	return t
}
