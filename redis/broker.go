package redis

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
	"go.uber.org/zap"
)

func init() { caddy.RegisterModule(new(Broker)) }

// Broker is the module `realtime.brokers.redis`: Redis numbers the messages of an app,
// keeps them for machines that were cut off, and carries them to all machines whose
// brokers have the same server and prefix.
type Broker struct {
	Server
}

// CaddyModule returns the Caddy module information.
func (*Broker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.brokers.redis", New: func() caddy.Module { return new(Broker) }}
}

// Provision implements caddy.Provisioner.
func (b *Broker) Provision(caddy.Context) error { return b.provision("broker") }

// requestTimeout bounds each request to Redis, and the time that a subscriber waits for a
// connection.
const requestTimeout = 5 * time.Second

// A broker connects one hub with Redis.
type broker struct {
	client    rueidis.Client // nil until reached is closed
	reached   chan struct{}  // closed once Redis was reached
	server    *Server
	prefix    string
	log       *zap.Logger
	seldom    limit.Seldom // log lines about what is unreadable
	stuck     limit.Seldom // and about what cannot be read at the moment
	refused   limit.Seldom // and about what Redis refuses since the start
	losses    limit.Seldom // and about what is lost, which is most often so in many channels
	ends      limit.Seldom // and about connections that end, which all lanes have at once
	handler   hub.Handler
	pastReads []pastRead
	probe     string        // the last part of the probes' channels; no other broker has it
	lease     time.Duration // leaseTime; tests shorten it before Join

	members atomic.Pointer[cluster.Members]    // nil before SharePresence
	relayed atomic.Pointer[func(*hub.Message)] // nil before Relayed

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // goroutines, and calls of methods

	began    time.Time
	measures measures
	away     atomic.Pointer[error] // why publishes are refused, nil if they are not; see watch

	mu     sync.Mutex // guards everything below
	closed bool
	apps   map[string]*app // those that were published to, or subscribed to
	lanes  [laneCount]*lane
	self   *member // nil before Join
}

func newBroker(s *Server, logger *zap.Logger) *broker {
	b := &broker{
		reached: make(chan struct{}), server: s, prefix: brokerPrefix(s), log: logger,
		pastReads: pastReads(), probe: "probe:" + rand.Text(), began: time.Now(), lease: leaseTime, apps: make(map[string]*app),
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Start implements hub.Broker.
func (b *broker) Start(h hub.Handler) error {
	b.handler = h
	b.work.Go(b.watch)
	return nil
}

// begin counts a call, for which Close waits until done is called. It fails after
// Close.
func (b *broker) begin() (done func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, hub.ErrStopped
	}
	b.work.Add(1)
	return b.work.Done, nil
}

// beginWithin is begin for a call that ends in time, and with Close.
func (b *broker) beginWithin(ctx context.Context, timeout time.Duration) (_ context.Context, done func(), err error) {
	end, err := b.begin()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	stop := context.AfterFunc(b.ctx, cancel)
	return ctx, func() { stop(); cancel(); end() }, nil
}

// app returns the record of an app.
func (b *broker) app(id string) *app {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.apps[id]
	if a == nil {
		a = &app{broker: b, id: id, base: baseName(b.prefix, id), window: firstWindow, relays: newRelays(), subs: make(map[string]*subscription)}
		a.sender.app = a
		b.apps[id] = a
	}
	return a
}

// Forget implements hub.Broker. Without its position, the app has a new epoch, and the
// streams of the old one expire.
func (b *broker) Forget(id string) {
	done, err := b.begin()
	if err != nil {
		return
	}
	defer done()
	a := b.app(id)
	b.mu.Lock()
	delete(b.apps, id)
	b.mu.Unlock()
	b.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		defer cancel()
		if err := a.forget(ctx); err != nil {
			b.log.Warn("cannot forget an app", zap.String("app", id), zap.Error(b.server.explain(err)))
		}
	})
}

// Close implements hub.Broker.
func (b *broker) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.work.Wait()
	if client, _ := b.connection(); client != nil {
		client.Close()
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Broker)(nil)
	_ caddyfile.Unmarshaler = (*Broker)(nil)
	_ hub.Opener            = (*Broker)(nil)
	_ hub.Interested        = (*broker)(nil)
	_ hub.SessionStore      = (*broker)(nil)
	_ hub.Measured          = (*broker)(nil)
	_ cluster.Cluster       = (*broker)(nil)
	_ cluster.Presence      = (*broker)(nil)
	_ hub.Admitter          = (*broker)(nil)
)
