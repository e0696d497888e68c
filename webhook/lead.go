package webhook

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/random"
)

// senderLease is how long a sender that no longer renews its lease counts as one.
const senderLease = 15 * time.Second

// leadParts is into how many parts a lease is divided: a machine that has not renewed it
// for all but one begins no request, and the others ask once in the time of one.
const leadParts = 3

// A lead takes part in which machine sends the webhooks of an app, and sends them while
// it is this one.
type lead struct {
	manager *Manager
	shared  Shared
	app     string
	owner   string // of this machine's leases: its ID, a colon, and what is random
	lease   time.Duration
	wake    chan struct{} // has a value if hooks have changed
	cancel  context.CancelFunc
	done    chan struct{} // closed when run has ended

	mu      sync.Mutex // guards everything below; locked after a remote's mu
	renewed time.Time  // when the lease was last asked for with success; zero if it is not held
	holder  string     // the last known owner
	known   Known
	queues  []*queue

	// Only run uses these.
	failing bool
	epoch   string               // of the lease that is held; "" if none is
	missing map[string]time.Time // writers that are no machines, since when
}

func (m *Manager) newLead(app string) *lead {
	l := &lead{
		manager: m, shared: m.shared, app: app, owner: m.machine + ":" + random.Text(8), lease: m.lease,
		wake: make(chan struct{}, 1), done: make(chan struct{}), missing: make(map[string]time.Time),
	}
	ctx, cancel := context.WithCancel(m.requests)
	l.cancel = cancel
	go l.run(ctx)
	return l
}

// close ends the lease and waits for the end of run.
func (l *lead) close() {
	l.cancel()
	<-l.done
}

// set sets the hooks.
func (l *lead) set(queues []*queue) {
	l.mu.Lock()
	for _, q := range queues {
		q.remote.lead.Store(l)
	}
	l.queues = queues
	l.mu.Unlock()
	l.poke()
}

// poke has run look at once.
func (l *lead) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lead) hooks() []*queue {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queues
}

// holds reports whether a request may begin.
func (l *lead) holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.renewed.IsZero() && time.Since(l.renewed) < l.lease-l.lease/leadParts
}

// sender returns the ID of the machine that sends, "" if it is not known.
func (l *lead) sender() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	machine, _, _ := strings.Cut(l.holder, ":")
	return machine
}

// added returns how many facts there were when this machine last asked.
func (l *lead) added() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known.Added
}

func (l *lead) run(ctx context.Context) {
	defer close(l.done)
	for {
		timer := time.NewTimer(l.step(ctx))
		select {
		case <-timer.C:
		case <-l.wake:
		case <-ctx.Done():
			timer.Stop()
			l.resign() //nolint:contextcheck // ctx has ended
			return
		}
		timer.Stop()
	}
}

// step asks for the lease, and returns after which time to do so again.
func (l *lead) step(ctx context.Context) time.Duration {
	pause := min(l.manager.timing.Batch, l.lease/10)
	call, cancel := context.WithTimeout(ctx, min(l.lease/leadParts, storeTimeout))
	defer cancel()
	a, err := l.look(call)
	if ctx.Err() != nil {
		return pause
	}
	l.report(err)
	switch {
	case err != nil:
		if l.epoch != "" && !l.holds() {
			l.stop() //nolint:contextcheck // the last write has the context of all requests
		}
		return pause
	case a.Owner != l.owner:
		l.stop()                                              //nolint:contextcheck // as above
		return min(a.Left, l.lease/leadParts) + rand.N(pause) //nolint:gosec // spreads load
	case a.Epoch != l.epoch:
		l.stop() //nolint:contextcheck // as above
		if err := l.begin(call, &a); err != nil {
			l.report(err)
			return pause
		}
	}
	l.adopt(call, &a)
	l.endWriters(ctx, a.Writers)
	return pause
}

// look asks for the lease.
func (l *lead) look(ctx context.Context) (Leader, error) {
	began := time.Now()
	l.mu.Lock()
	known := l.known
	l.mu.Unlock()
	a, err := l.shared.Lead(ctx, l.app, l.owner, l.lease, known)
	if err != nil {
		return a, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holder, l.renewed = a.Owner, time.Time{}
	if a.Owner == l.owner {
		l.renewed = began
	}
	if a.Epoch != l.known.Epoch {
		l.known = Known{}
	}
	l.known = Known{a.Epoch, max(l.known.Saved, a.Saved), max(l.known.Added, a.Added), a.Last}
	return a, nil
}

// save keeps a hook's record.
func (l *lead) save(ctx context.Context, epoch, hook, text string) error {
	err := l.shared.SaveRecord(ctx, l.app, l.owner, epoch, hook, text)
	if errors.Is(err, ErrFenced) {
		l.mu.Lock()
		l.renewed = time.Time{}
		l.mu.Unlock()
		l.poke()
	}
	return err
}

// begin begins to send.
func (l *lead) begin(ctx context.Context, a *Leader) error {
	records, err := l.shared.Records(ctx, l.app)
	if err != nil {
		return err
	}
	l.epoch = a.Epoch
	l.manager.log.Info("this machine sends the webhooks of an app", zap.String("app", l.app))
	for _, q := range l.hooks() {
		q.remote.take(records[q.hook.Load().ID], a)
	}
	return nil
}

// adopt begins with hooks that are new, and looks for something to send.
func (l *lead) adopt(ctx context.Context, a *Leader) {
	var records map[string]string
	for _, q := range l.hooks() {
		if !q.remote.isTaken() {
			if records == nil {
				var err error
				if records, err = l.shared.Records(ctx, l.app); err != nil {
					l.report(err)
					return
				}
			}
			q.remote.take(records[q.hook.Load().ID], a)
		}
		q.remote.look(a) //nolint:contextcheck // a write has the context of all requests
	}
}

// stop stops sending. A request that is under way is cancelled.
func (l *lead) stop() {
	if l.epoch == "" {
		return
	}
	l.epoch = ""
	l.manager.log.Info("this machine no longer sends the webhooks of an app", zap.String("app", l.app))
	for _, q := range l.hooks() {
		q.pause()
		q.remote.release()
	}
}

// resign gives the lease back, so that another machine sends at once.
func (l *lead) resign() {
	if l.epoch == "" {
		return
	}
	l.stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := l.shared.Resign(ctx, l.app, l.owner); err != nil {
		l.manager.log.Warn("cannot tell the other machines that this one no longer sends webhooks; they know when its lease ends", zap.String("app", l.app), zap.Error(err))
	}
}

// endWriters finds machines that have added facts and are gone without a word. What they
// had in memory is lost.
func (l *lead) endWriters(ctx context.Context, writers []string) {
	alive := l.manager.machines()
	for machine := range l.missing {
		if !slices.Contains(writers, machine) || slices.Contains(alive, machine) {
			delete(l.missing, machine)
		}
	}
	for _, machine := range writers {
		since, missing := l.missing[machine]
		switch {
		case slices.Contains(alive, machine):
		case !missing:
			l.missing[machine] = time.Now()
		case time.Since(since) >= l.lease: // this machine may just have joined
			ctx, cancel := context.WithTimeout(ctx, storeTimeout)
			if err := l.shared.EndWriter(ctx, l.app, machine, false); err != nil {
				l.report(err)
			}
			cancel()
		}
	}
}

// report logs that Shared is away, and that it is back, once.
func (l *lead) report(err error) {
	switch {
	case errors.Is(err, context.Canceled): // the app has no hooks any longer
		return
	case err != nil && !l.failing:
		l.manager.log.Warn("it cannot be known which machine sends the webhooks of an app; they wait", zap.String("app", l.app), zap.Error(err))
	case err == nil && l.failing:
		l.manager.log.Info("it is known again which machine sends the webhooks of an app", zap.String("app", l.app))
	}
	l.failing = err != nil
}
