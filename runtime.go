package realtime

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
	"github.com/seed-c079cc48/caddy-realtime/internal/live"
	"github.com/seed-c079cc48/caddy-realtime/internal/stats"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// runtimes holds the one runtime of each keystore for as long as a
// configuration uses it.
var runtimes = caddy.NewUsagePool()

// runtimeKey is the identity of a runtime: its keystore's directory, cleaned
// and absolute. Nothing that a reload may change belongs in it.
type runtimeKey string

// runtime is what outlives a configuration: keys, channels and sockets. Each
// configuration that runs on it brings settings and a log, the latest of which
// are in force.
type runtime struct {
	dir       string
	log       *zap.Logger
	lasting   *lastingLogger
	registry  *keystore.Registry
	limits    limit.Group
	hub       *hub.Hub[*engineio.Packet]
	sio       *socketio.Server
	eio       *engineio.Server
	sockets   sockets
	live      live.Feeds
	forms     sentForms
	changes   changes
	failed    access.Failures
	admission access.Admission
	arrived   arrivals
	stats     *stats.Stats
	expiry    *expiry

	current atomic.Pointer[Settings]
	refused access.RefusedOrigins

	appOrigins access.AppOrigins
	sites      atomic.Pointer[siteOrigins]

	mu       sync.Mutex // guards what follows
	configs  []*App     // the started ones; two while a reload is under way
	expected *App       // one that is about to start

	drainOnce sync.Once
	draining  atomic.Bool
	drained   chan struct{} // closed when the drain is over

	hanging atomic.Int32  // checks of the health that were left behind
	closed  chan struct{} // closed with the runtime

	shrinking sync.WaitGroup // shrink, which Destruct waits for
}

// upgradeTimeout is Node's default.
const upgradeTimeout = 10 * time.Second

// openRuntime opens the keystore and makes everything that stands on it.
func openRuntime(dir string, first *App) (*runtime, error) {
	rt := &runtime{dir: dir, lasting: newLastingLogger(first.logger), stats: stats.New(), drained: make(chan struct{}), closed: make(chan struct{})}
	rt.log = rt.lasting.logger("realtime")
	rt.current.Store(&first.Settings)
	store, err := keystore.OpenBadger(dir, rt.lasting.logger("realtime.keystore"))
	if err != nil {
		return nil, err
	}
	rt.registry, err = keystore.Open(countedStore{store, &rt.stats.Store})
	if err != nil {
		return nil, err
	}
	// A key that has expired takes its sockets with it.
	rt.expiry = startExpiry(rt.registry.App, func(app *keystore.App) { rt.sockets.recheck(app.ID, app) })
	rt.registry.Watch(rt.appChanged)
	for page, next := rt.registry.Apps("", maxPage); ; page, next = rt.registry.Apps(next, maxPage) {
		for _, app := range page {
			rt.stats.Enter(app.ID)
			rt.expiry.watch(app.ID)
		}
		if next == "" {
			break
		}
	}
	rt.hub = hub.New(hub.NewMemory(), func(m *hub.Message) *engineio.Packet {
		return socketio.EventPacket(m.Event, m.Data)
	})
	rt.sio = socketio.NewServer(rt.socketConfig(), rt.accept)
	rt.eio = engineio.NewServer(rt.engineConfig(), rt.open)
	rt.shrinking.Go(rt.shrink)
	return rt, nil
}

// shrinkPause is between two searches for memory that limits no longer need.
const shrinkPause = time.Minute

// shrink runs until the runtime is closed.
func (rt *runtime) shrink() {
	tick := time.NewTicker(shrinkPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			rt.limits.Shrink()
		case <-rt.closed:
			return
		}
	}
}

// appChanged takes note of a change to an app: before is nil for a new one, now
// for one that is gone.
func (rt *runtime) appChanged(before, now *keystore.App) {
	switch {
	case before == nil: // a new app has no sockets
		rt.stats.Enter(now.ID)
		rt.expiry.watch(now.ID)
		return
	case now == nil:
		rt.limits.Forget(before.ID)
		rt.hub.Forget(before.ID)
		rt.stats.Forget(before.ID)
		rt.appOrigins.Forget(before.ID)
	}
	rt.expiry.watch(before.ID)
	rt.sockets.recheck(before.ID, now)
}

// settings are those of the configuration in force.
func (rt *runtime) settings() *Settings { return rt.current.Load() }

func (rt *runtime) socketConfig() socketio.Config {
	s := rt.settings()
	return socketio.Config{
		ConnectTimeout: time.Duration(s.ConnectTimeout),
		MaxConnecting:  s.MaxConnecting,
		Address:        addressOf,
		Logger:         rt.log,
	}
}

// addressOf is a session's address in limits, not valid where it has none.
func addressOf(data any) netip.Prefix {
	customer, _ := access.ClientPrefix(data.(*visitor).ip)
	return customer
}

func (rt *runtime) engineConfig() engineio.Config {
	s := rt.settings()
	return engineio.Config{
		PingInterval:   time.Duration(s.PingInterval),
		PingTimeout:    time.Duration(s.PingTimeout),
		MaxPayload:     int(s.MaxPacket),
		MaxQueue:       int(s.MaxQueue),
		WriteTimeout:   time.Duration(s.WriteTimeout),
		UpgradeTimeout: upgradeTimeout,
		BodyTimeout:    time.Duration(s.BodyTimeout),
		MaxPackets:     s.MessageRate.Count,
		PacketWindow:   time.Duration(s.MessageRate.Window),
		NeededPackets:  neededPackets,
		Logger:         rt.log,
		Describe:       describe,
	}
}

// describe says in the log whose session it is.
func describe(data any) []zap.Field {
	v, ok := data.(*visitor)
	if !ok {
		return nil
	}
	return []zap.Field{zap.String("client_ip", v.ip)}
}

const (
	// settleLimit bounds how long a reload waits for polls, whose answers are
	// held meanwhile.
	settleLimit = 1100 * time.Millisecond

	// endedLimit bounds how long a reload waits for the HTTP servers of the one
	// before to tell their polls that they end, which Caddy does not wait for.
	endedLimit = time.Second

	// closeTime is how long after the end of a configuration its HTTP servers
	// may take to close their listeners: Caddy ends its apps in no order.
	closeTime = 100 * time.Millisecond
)

// expect prepares for a configuration that is about to start, on HTTP servers
// that may listen before it does, or that may fail and close their listeners
// again: every client on polling has a poll here by then, and keeps it.
func (rt *runtime) expect(a *App) {
	rt.eio.AwaitEnded(endedLimit)
	a.hold.Begin()
	rt.mu.Lock()
	rt.expected = a
	rt.holdAnswers()
	rt.mu.Unlock()
	rt.eio.Settle(settleLimit)
}

// forget is for a configuration that was expected and does not start.
func (rt *runtime) forget(a *App) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.expected == a {
		rt.expected = nil
		rt.holdAnswers()
	}
}

// start puts a configuration in force.
func (rt *runtime) start(a *App) {
	rt.mu.Lock()
	rt.configs = append(rt.configs, a)
	if rt.expected == a {
		rt.expected = nil
	}
	rt.configure()
	rt.mu.Unlock()
	rt.live.End() // their requests are of servers that are to end
}

// stop takes a configuration out: after a reload the old one, after a failed
// reload the new.
func (rt *runtime) stop(a *App) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if a != rt.configs[len(rt.configs)-1] {
		rt.stats.Reloads.Add(1)
	}
	rt.configs = slices.DeleteFunc(rt.configs, func(c *App) bool { return c == a })
	rt.configure()
}

// holdAnswers holds answers to polls while there are two configurations. It
// needs mu.
func (rt *runtime) holdAnswers() {
	two := len(rt.configs) > 1 || rt.expected != nil
	for _, config := range rt.configs {
		if two {
			config.hold.Begin()
		} else {
			config.hold.EndIn(closeTime)
		}
	}
}

// configure puts the latest configuration in force. It needs mu.
func (rt *runtime) configure() {
	if len(rt.configs) == 0 {
		return // what runs on, until it is closed, keeps the last
	}
	rt.holdAnswers()
	latest := rt.configs[len(rt.configs)-1]
	rt.lasting.use(latest.logger)
	rt.current.Store(&latest.Settings)
	rt.hub.SetAhead(int(latest.MaxQueue / 2)) // a socket may be in several channels
	rt.sio.Configure(rt.socketConfig())
	rt.eio.Configure(rt.engineConfig())
	rt.useSites()
}

// Publish implements publisher.
func (rt *runtime) Publish(app string, p message.Publication) (published, error) {
	if p.Received.IsZero() {
		p.Received = time.Now()
	}
	receipt, err := rt.hub.Publish(hub.Message{App: app, Channel: p.Channel, Event: p.Event, Data: p.Data, Except: p.Except})
	if err != nil {
		return published{}, fmt.Errorf("publishing: %w", err)
	}
	rt.stats.Published(rt.stats.App(app), len(p.Data), receipt.Subscribers, time.Since(p.Received))
	if rt.live.Watched(app) {
		rt.live.Tell(app, live.Event{
			Kind: live.Published, Channel: text.MaskKeys(p.Channel), Event: text.MaskKeys(p.Event), Data: p.Data,
			Message: receipt.ID, Offset: receipt.Offset, Subscribers: receipt.Subscribers,
		})
	}
	return published{ID: receipt.ID, Offset: receipt.Offset, Subscribers: receipt.Subscribers}, nil
}

// refuse counts a refusal of one who claims to be of an app.
func (rt *runtime) refuse(claimed, attempt string, refusal *apierr.Error) {
	countRefusal(rt.stats, rt.registry, claimed, attempt, refusal)
}

// Destruct implements caddy.Destructor: nobody uses the runtime any more, as
// the configuration names another keystore, or none, or the process ends.
func (rt *runtime) Destruct() error {
	close(rt.closed)
	rt.shrinking.Wait()
	rt.eio.Close()
	rt.expiry.stop()
	if err := rt.registry.Close(); err != nil {
		rt.log.Error("the keystore could not be closed", zap.String("dir", rt.dir), zap.Error(err))
		return fmt.Errorf("closing the keystore: %w", err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Destructor = (*runtime)(nil)
	_ publisher        = (*runtime)(nil)
)
