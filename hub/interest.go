package hub

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/internal/lean"
)

// interests tells an Interested broker which channels have subscribers. It
// holds an interest for each channel that has subscribers, or clients waiting
// to subscribe.
type interests struct {
	broker Interested
	unheld func(name)      // called without mu once nobody holds an interest any longer
	ctx    context.Context // for calls that nobody waits for; ends with close
	cancel context.CancelFunc
	calls  sync.WaitGroup // calls to the broker

	mu     sync.Mutex // guards everything below; locked after a channel's
	byName lean.Map[name, *interest]
	syncs  map[string]*syncCall // by app, while calls run: the next one, or nil
}

type interest struct {
	count int  // subscribers, including those that are waiting to subscribe
	told  bool // the broker knows that there are subscribers

	call *interestCall // the call to the broker in flight, or nil
}

type interestCall struct {
	on        bool
	cancel    context.CancelFunc
	abandoned bool // canceled because nobody was waiting for it; guarded by interests.mu
	ended     chan struct{}
	err       error // of a call that is on and not abandoned; set before ended is closed
}

func newInterests(broker Interested, unheld func(name)) *interests {
	ctx, cancel := context.WithCancel(context.Background())
	return &interests{broker: broker, unheld: unheld, ctx: ctx, cancel: cancel, syncs: make(map[string]*syncCall)}
}

// close cancels the calls and waits for them.
func (i *interests) close() {
	i.cancel()
	i.calls.Wait()
}

// tryAcquire is acquire if that need not wait; otherwise it does nothing.
func (i *interests) tryAcquire(n name) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	in := i.byName.Get(n)
	if in == nil || !in.told || in.call != nil {
		return false
	}
	in.count++
	return true
}

// acquire counts one more subscriber, and waits until the broker knows that the
// channel has subscribers. If that fails, or ctx ends, the subscriber is not
// counted.
func (i *interests) acquire(ctx context.Context, n name) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	in := i.byName.Get(n)
	if in == nil {
		in = new(interest)
		i.byName.Set(n, in)
	}
	in.count++
	for !in.told || in.call != nil { // the call may be the one that withdraws interest
		if in.call == nil {
			i.begin(n, in) //nolint:contextcheck // others may wait for this call, too
		}
		call := in.call
		i.mu.Unlock()
		var err error
		select {
		case <-call.ended:
			err = call.err
		case <-ctx.Done():
			err = ctx.Err()
		}
		i.mu.Lock()
		if err != nil {
			i.leave(n, in) //nolint:contextcheck // nobody waits for the call that it begins
			return err
		}
	}
	return nil
}

// release undoes one acquire, after the subscriber has left. It does not wait. The caller
// does not hold the channel's mu.
func (i *interests) release(n name) {
	i.mu.Lock()
	in := i.byName.Get(n)
	i.leave(n, in)
	held := in.count > 0
	i.mu.Unlock()
	if !held {
		i.unheld(n)
	}
}

// isHeld reports whether a channel has subscribers, or clients that wait to subscribe.
func (i *interests) isHeld(n name) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	in := i.byName.Get(n)
	return in != nil && in.count > 0
}

// leave counts one subscriber fewer. The caller holds mu.
func (i *interests) leave(n name, in *interest) {
	if in.count--; in.count > 0 {
		return
	}
	switch {
	case in.call != nil && in.call.on:
		in.call.abandoned = true
		in.call.cancel() // if this is too late, interest is withdrawn afterwards
	case in.call != nil:
	case in.told:
		i.begin(n, in)
	default:
		i.byName.Delete(n)
	}
}

// begin tells the broker about the count if it does not know yet. The caller
// holds mu.
func (i *interests) begin(n name, in *interest) {
	on := in.count > 0
	ctx, cancel := context.WithCancel(i.ctx)
	call := &interestCall{on: on, cancel: cancel, ended: make(chan struct{})}
	in.call = call
	i.calls.Go(func() {
		defer cancel()
		err := guard(func() error { return i.broker.Interest(ctx, n.app, n.channel, on) })
		i.mu.Lock()
		defer i.mu.Unlock()
		// A failed withdrawal counts as a withdrawal: the next subscriber tells
		// the broker again.
		in.told, in.call = on && err == nil, nil
		if on && !call.abandoned { // otherwise whoever waits by now begins another call
			call.err = err
		}
		close(call.ended)
		switch {
		case in.count > 0:
		case in.told:
			i.begin(n, in) //nolint:contextcheck // a call of its own
		default:
			i.byName.Delete(n)
		}
	})
}

// guard calls the broker. The broker is foreign code: its panic becomes an error for
// those who wait.
func guard(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the broker panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return call()
}
