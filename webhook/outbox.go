package webhook

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Bounds of the facts of an app that wait to be added to Shared. With more, they are
// dropped, and all hooks of the app get StateReset in their place.
const (
	maxOutbox      = 10_000
	maxOutboxBytes = 16 << 20
	maxAppend      = 100     // facts in a call
	maxAppendBytes = 1 << 20 // of one, unless a single fact is larger
)

// Pauses between attempts to add facts.
const (
	firstAppendPause = 50 * time.Millisecond
	lastAppendPause  = 2 * time.Second
)

// appendTimeout bounds a call of Shared.
const appendTimeout = 5 * time.Second

// An outbox adds what happens on this machine to Shared, in order, without holding up
// where it happens.
type outbox struct {
	shared  Shared
	log     *zap.Logger
	machine string
	gather  time.Duration
	ctx     context.Context //nolint:containedctx // ends when close has waited long enough
	cancel  context.CancelFunc
	work    sync.WaitGroup

	mu     sync.Mutex // guards everything below
	closed bool
	apps   map[string]*outgoing
}

// outgoing are the facts of an app that are to be added.
type outgoing struct {
	pending []Fact
	bytes   int
	dropped bool   // facts after pending found no room
	number  uint64 // of the last call
	calling int    // facts in the call that is under way or to be repeated; 0 without one
	running bool
}

func newOutbox(shared Shared, log *zap.Logger, machine string, gather time.Duration) *outbox {
	o := &outbox{shared: shared, log: log, machine: machine, gather: gather, apps: make(map[string]*outgoing)}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	return o
}

// add adds a fact soon. It does not wait.
func (o *outbox) add(f Fact) {
	size := f.Event.size()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	app := f.Event.App
	a := o.apps[app]
	if a == nil {
		a = new(outgoing)
		o.apps[app] = a
	}
	if a.dropped || len(a.pending) >= maxOutbox || a.bytes+size > maxOutboxBytes && len(a.pending) > 0 {
		a.dropped = true
		return
	}
	a.pending = append(a.pending, f)
	a.bytes += size
	if !a.running {
		a.running = true
		o.work.Go(func() { o.run(app, a) })
	}
}

// run adds the facts of an app until there are no more.
func (o *outbox) run(app string, a *outgoing) {
	failing := false
	pause := firstAppendPause
	_ = sleep(o.ctx, o.gather)
	for {
		facts, number := o.next(app, a)
		if len(facts) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(o.ctx, appendTimeout)
		err := o.shared.AppendFacts(ctx, app, o.machine, number, facts)
		cancel()
		if err == nil {
			if failing {
				o.log.Info("what happens is kept for webhooks again", zap.String("app", app))
			}
			failing, pause = false, firstAppendPause
			o.remove(a, len(facts))
			continue
		}
		if !failing && o.ctx.Err() == nil {
			o.log.Warn("what happens cannot be kept for webhooks; it waits in memory", zap.String("app", app), zap.Error(err))
		}
		failing = true
		if sleep(o.ctx, pause) != nil {
			return
		}
		pause = min(2*pause, lastAppendPause)
	}
}

// next returns the first facts, always the same until remove, and the number of the call:
// Shared ignores a repetition, whatever is in it.
func (o *outbox) next(app string, a *outgoing) ([]Fact, uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a.calling > 0 {
		return a.pending[:a.calling:a.calling], a.number + 1
	}
	if len(a.pending) == 0 && a.dropped {
		a.dropped = false
		a.pending = append(a.pending, Fact{Event: Event{Type: StateReset, App: app}})
		o.log.Warn("events of webhooks were dropped, because they could not be kept for too long", zap.String("app", app))
	}
	n, size := 0, 0
	for n < len(a.pending) && n < maxAppend && (n == 0 || size+a.pending[n].Event.size() <= maxAppendBytes) {
		size += a.pending[n].Event.size()
		n++
	}
	if n == 0 {
		a.pending, a.bytes, a.running = nil, 0, false
	}
	a.calling = n
	return a.pending[:n:n], a.number + 1
}

// remove removes facts that were added.
func (o *outbox) remove(a *outgoing, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a.number++
	a.calling = 0
	for i := range a.pending[:n] {
		a.bytes -= a.pending[i].Event.size()
		a.pending[i] = Fact{}
	}
	a.pending = a.pending[n:]
}

// close adds what is left until ctx is done, and tells Shared that this machine has
// ended.
func (o *outbox) close(ctx context.Context) {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	defer context.AfterFunc(ctx, o.cancel)()
	o.work.Wait()
	for app, a := range o.apps { // nothing changes them any longer
		if len(a.pending) > 0 || a.number == 0 {
			continue // the others send StateReset for what is lost
		}
		if err := o.shared.EndWriter(ctx, app, o.machine, true); err != nil {
			o.log.Warn("cannot tell the other machines that this one has ended properly; webhooks get state.reset", zap.String("app", app), zap.Error(err))
		}
	}
	o.cancel()
}

// sleep waits, at most until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
