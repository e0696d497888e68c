// Package webhook sends the events of apps to URLs: in order, signed, at least
// once, from a queue on disk, or from what several machines share (see Shared).
//
// Emit puts an event into memory; a writer moves it to the journal of each hook
// that wants it; a sender for each hook that has events sends them in batches. A
// receiver that hangs or is gone costs a goroutine and a file on disk.
//
// After an unclean end (kill -9, a power failure), events that were in memory are
// lost. Each hook then gets what is left in its queue, and after that StateReset:
// the receiver is to fetch the state of the app. It stands after what is left, and
// before all new events. If it were first, a receiver would fetch the state and then
// apply older events to it: a channel that was occupied before the kill would be
// taken for occupied forever, because nobody is left to vacate it.
package webhook

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Options of a Manager. Dir or Shared, and Logger are required.
type Options struct {
	Dir    string // for the queues alone; it is created
	Logger *zap.Logger

	// Shared keeps what happens, instead of Dir, if several machines send for the same
	// hooks: one at a time for each app.
	Shared Shared

	// Machine is the ID of this machine, and Machines returns those of all that are
	// alive. Both are needed with Shared.
	Machine  string
	Machines func() []string

	// Debounce is how long ChannelVacated and MemberLeft wait, with Shared. Without it,
	// they do so before Emit, see Debounce.
	Debounce time.Duration

	// Lease is how long a sender that no longer renews its lease counts as one, with
	// Shared. Default: 15s.
	Lease time.Duration

	// AllowPrivate lets hooks have targets that are not public: see
	// Manager.AllowPrivate.
	AllowPrivate bool

	// Disabled is called after a receiver has answered 410 Gone, with the hook as
	// it was. Nothing more is sent to it. The function is to store that the hook is
	// disabled, and may call Set. It can be nil.
	Disabled func(hook Hook, reason string)

	// Resolver resolves the names of receivers; nil is the default.
	Resolver *net.Resolver

	Timing Timing
}

// Timing has the times of deliveries. Zero values mean the defaults.
type Timing struct {
	Gather     time.Duration // from Emit to the write to disk, 20ms
	Batch      time.Duration // how long a batch waits to be filled, 1s
	Answer     time.Duration // how long a receiver may take to answer, 5s
	FirstRetry time.Duration // the shortest pause between attempts, 1s
	LastRetry  time.Duration // the longest, 10m
	GiveUp     time.Duration // after which a batch is dropped, 24h
}

func (t Timing) withDefaults() Timing {
	for _, d := range []struct {
		field    *time.Duration
		standard time.Duration
	}{
		{&t.Gather, 20 * time.Millisecond},
		{&t.Batch, time.Second},
		{&t.Answer, 5 * time.Second},
		{&t.FirstRetry, time.Second},
		{&t.LastRetry, 10 * time.Minute},
		{&t.GiveUp, 24 * time.Hour},
	} {
		if *d.field == 0 {
			*d.field = d.standard
		}
	}
	return t
}

// limits bound the events of a hook in its journal, not counting the batch.
type limits struct {
	events int
	bytes  int64
}

var defaultLimits = limits{events: 10_000, bytes: 16 << 20}

// A Manager has the hooks of all apps. Its methods can be called concurrently.
type Manager struct {
	log      *zap.Logger
	timing   Timing
	limits   limits
	disabled func(Hook, string)
	dir      *directory
	client   *http.Client
	private  atomic.Bool
	index    atomic.Pointer[index]
	writer   *writer // nil with shared
	senders  sync.WaitGroup

	shared   Shared // nil if this machine sends alone
	machine  string
	machines func() []string
	debounce time.Duration
	lease    time.Duration
	outbox   *outbox // nil without shared

	requests    context.Context //nolint:containedctx // of all requests, until Close has waited long enough
	cancel      context.CancelFunc
	closing     chan struct{} // closed when no new request may begin
	quick, slow chan struct{} // places of requests

	memory                     atomic.Int64 // bytes of events that are pending
	waiting                    atomic.Int64 // events in the journals
	delivered, failed, dropped atomic.Uint64

	setting sync.Mutex // held by Set and Close
	first   bool       // there was no Set yet; guarded by setting
	closed  bool       // guarded by setting

	mu     sync.Mutex // guards the fields below; written only with setting held
	queues map[string]*queue
	leads  map[string]*lead // by app; with shared
}

// Open opens the directory of the queues. There are no hooks until Set. Close must
// be called.
func Open(o Options) (*Manager, error) {
	var dir *directory
	if o.Shared == nil {
		var err error
		if dir, err = openDirectory(o.Dir); err != nil {
			return nil, err
		}
	}
	m := &Manager{
		log: o.Logger, timing: o.Timing.withDefaults(), limits: defaultLimits, disabled: o.Disabled, dir: dir,
		shared: o.Shared, machine: o.Machine, machines: o.Machines, debounce: o.Debounce, lease: cmp.Or(o.Lease, senderLease), leads: make(map[string]*lead),
		closing: make(chan struct{}), quick: make(chan struct{}, quickPlaces), slow: make(chan struct{}, slowPlaces),
		first: true, queues: make(map[string]*queue),
	}
	m.requests, m.cancel = context.WithCancel(context.Background())
	m.AllowPrivate(o.AllowPrivate)
	m.index.Store(&index{})
	m.client = m.newClient(o.Resolver)
	if m.shared != nil {
		m.outbox = newOutbox(m.shared, m.log, m.machine, m.timing.Gather)
	} else {
		m.writer = newWriter(m.timing.Gather)
	}
	return m, nil
}

// AllowPrivate changes whether requests can be made to addresses that are not
// public: loopback, private, link-local and others. It holds for new connections.
func (m *Manager) AllowPrivate(allow bool) {
	if m.private.Swap(allow) && !allow {
		m.client.CloseIdleConnections()
	}
}

// find returns the queue of an app's hook, or nil.
func (m *Manager) find(app, id string) *queue {
	m.mu.Lock()
	defer m.mu.Unlock()
	if q := m.queues[id]; q != nil && q.hook.Load().App == app {
		return q
	}
	return nil
}

// Close stops sending and writes everything to disk, from where the next Open
// continues. Requests that are under way can end until ctx is done, and are made
// again otherwise. Events that are emitted meanwhile are lost: emitters end first.
func (m *Manager) Close(ctx context.Context) error {
	m.setting.Lock()
	if m.closed {
		m.setting.Unlock()
		return nil
	}
	m.closed = true
	m.index.Store(&index{})
	for _, q := range m.queues {
		q.mu.Lock()
		q.stopped = true
		q.mu.Unlock()
	}
	m.setting.Unlock() // for Options.Disabled, which may call Set
	close(m.closing)
	stop := context.AfterFunc(ctx, m.cancel)
	m.senders.Wait()
	if m.shared != nil {
		m.leave(ctx)
	}
	stop()
	m.cancel()
	m.client.CloseIdleConnections()
	if m.shared != nil {
		return nil
	}
	m.writer.close()
	var err error
	for _, q := range m.queues {
		err = errors.Join(err, q.close()) //nolint:contextcheck // no sender starts any longer
	}
	return errors.Join(err, m.dir.close(err == nil && (m.dir.clean || !m.first)))
}

// leave has other machines send.
func (m *Manager) leave(ctx context.Context) {
	for _, l := range m.leads { // Set changes them no longer
		l.close()
	}
	m.outbox.close(ctx)
}
