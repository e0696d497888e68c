package hub

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/internal/lean"
)

// interests tell an Interested broker which channels have subscribers. There is
// one for each channel that has some, or somebody who waits to be one.
type interests struct {
	broker Interested
	ctx    context.Context // of what nobody waits for, until close
	cancel context.CancelFunc
	calls  sync.WaitGroup // those to the broker

	mu     sync.Mutex // guards all below
	byName lean.Map[name, *interest]
}

type interest struct {
	count int  // of those who subscribe, or wait to
	told  bool // the broker knows that there are some

	call *interestCall // to the broker, under way; nil if none is
}

type interestCall struct {
	on        bool
	cancel    context.CancelFunc
	abandoned bool // canceled, as nobody waited for it any more; guarded by interests.mu
	ended     chan struct{}
	err       error // of one that is on and not abandoned; set when ended is closed
}

func newInterests(broker Interested) *interests {
	ctx, cancel := context.WithCancel(context.Background())
	return &interests{broker: broker, ctx: ctx, cancel: cancel}
}

// close ends calls, and waits for them.
func (i *interests) close() {
	i.cancel()
	i.calls.Wait()
}

// tryAcquire is acquire where that would not wait, and else does nothing.
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

// acquire counts one more who subscribes, and waits until the broker knows that
// there is one. If it fails, or ctx ends, that one does not count.
func (i *interests) acquire(ctx context.Context, n name) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	in := i.byName.Get(n)
	if in == nil {
		in = new(interest)
		i.byName.Set(n, in)
	}
	in.count++
	for !in.told || in.call != nil { // the call may be one that takes it back
		if in.call == nil {
			i.begin(n, in) //nolint:contextcheck // others may wait for the call, too
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
			i.leave(n, in) //nolint:contextcheck // nobody waits for what it begins
			return err
		}
	}
	return nil
}

// release is called for each that acquire has counted, when it has left. It does
// not wait.
func (i *interests) release(n name) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.leave(n, i.byName.Get(n))
}

// leave needs mu.
func (i *interests) leave(n name, in *interest) {
	if in.count--; in.count > 0 {
		return
	}
	switch {
	case in.call != nil && in.call.on:
		in.call.abandoned = true
		in.call.cancel() // and is taken back if it was too late for that
	case in.call != nil:
	case in.told:
		i.begin(n, in)
	default:
		i.byName.Delete(n)
	}
}

// begin tells the broker what the count is, if it does not know. It needs mu.
func (i *interests) begin(n name, in *interest) {
	on := in.count > 0
	ctx, cancel := context.WithCancel(i.ctx)
	call := &interestCall{on: on, cancel: cancel, ended: make(chan struct{})}
	in.call = call
	i.calls.Go(func() {
		defer cancel()
		err := i.call(ctx, n, on)
		i.mu.Lock()
		defer i.mu.Unlock()
		// One that failed to be taken back is as good as that: who comes next
		// says so again.
		in.told, in.call = on && err == nil, nil
		if on && !call.abandoned { // else whoever waits by now begins another
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

// call tells the broker. It is another's code, whose panic is an error to those who
// wait.
func (i *interests) call(ctx context.Context, n name, on bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the broker panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return i.broker.Interest(ctx, n.app, n.channel, on)
}
