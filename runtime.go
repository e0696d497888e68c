package realtime

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/live"
	"github.com/seed-c079cc48/caddy-realtime/internal/logging"
	"github.com/seed-c079cc48/caddy-realtime/internal/random"
	"github.com/seed-c079cc48/caddy-realtime/internal/stats"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/presence"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
	"github.com/seed-c079cc48/caddy-realtime/webhook"
)

// runtimes holds one runtime per keystore and broker, as long as a configuration
// uses it.
var runtimes = caddy.NewUsagePool()

// runtimeKey identifies a runtime by its keystore and broker. It must not contain
// anything that a reload can change.
type runtimeKey struct{ keystore, broker string }

func (a *App) runtimeKey() runtimeKey { return runtimeKey{a.keystore.Identity(), a.broker.Identity()} }

// A runtime holds the state that outlives a configuration: keys, channels and
// sockets. The settings and the log are those of the latest configuration that
// runs on it.
type runtime struct {
	key         runtimeKey
	log         *zap.Logger
	lasting     *logging.Lasting
	store       keystore.Store
	broker      hub.Broker
	registry    *keystore.Registry
	publisher   publisher
	gateway     *manage.Gateway
	hub         *hub.Hub[*socketio.Broadcast]
	presence    *presence.Presence
	sio         *socketio.Server
	eio         *engineio.Server
	sockets     sockets
	live        live.Feeds
	failed      access.Failures
	admission   access.Admission
	arrived     arrivals
	stats       *stats.Stats
	expiry      *keystore.Expiry
	hooks       *hooks
	sharedHooks *sharedHooks // nil if this machine sends alone

	keystoreDir string // "" if the keystore has none

	machineID string
	began     time.Time
	others    *others          // nil if the broker serves a single machine
	sessions  hub.SessionStore // nil if the machines do not share sessions
	relay     hub.Relay        // nil if there are no other machines
	fetched   atomic.Uint64    // sessions of other machines that were continued here
	nodes     nodes

	current atomic.Pointer[Settings]
	refused access.RefusedOrigins
	faults  faults

	appOrigins access.AppOrigins
	sites      atomic.Pointer[siteOrigins]

	mu       sync.Mutex // guards configs and expected
	configs  []*App     // started; two during a reload
	expected *App       // about to start

	drainOnce sync.Once
	draining  atomic.Bool
	drained   chan struct{} // closed when the drain is over

	closed chan struct{} // closed with the runtime

	shrinking sync.WaitGroup // waits for shrink
}

// upgradeTimeout is the default of the Node server.
const upgradeTimeout = 10 * time.Second

// openRuntime opens the keystore and creates everything that depends on it.
func openRuntime(first *App) (*runtime, error) {
	rt := &runtime{
		key: first.runtimeKey(), lasting: logging.New(first.logger), stats: newStats(),
		drained: make(chan struct{}), closed: make(chan struct{}), keystoreDir: keystoreDirOf(first.keystore),
		machineID: random.Text(cluster.IDLength), began: time.Now(),
	}
	rt.log = rt.lasting.Logger("realtime")
	rt.current.Store(&first.Settings)
	if err := rt.checkDir(); err != nil {
		return nil, err
	}
	store, err := first.keystore.Open(rt.lasting.Logger("realtime.keystore"))
	if err != nil {
		return nil, fmt.Errorf("opening the keystore: %w", err)
	}
	rt.store = store
	rt.registry, err = keystore.Open(counted(store, &rt.stats.Store))
	if err != nil {
		return nil, fmt.Errorf("opening the keystore: %w", err)
	}
	// Disconnect the sockets of expired keys.
	rt.expiry = keystore.StartExpiry(rt.registry.App, func(app *keystore.App) { rt.sockets.recheck(app.ID, app) })
	broker, err := first.broker.Open(rt.lasting.Logger("realtime.broker"))
	if err == nil {
		rt.hub, err = newHub(broker)
	}
	if err != nil {
		rt.expiry.Stop()
		return nil, errors.Join(fmt.Errorf("opening the broker: %w", err), rt.registry.Close())
	}
	rt.broker = broker
	rt.hooks = newHooks(rt.lasting.Logger("realtime.webhooks"), rt.registry, rt.hooksDir(), &first.Settings, rt.shareHooks(broker))
	rt.hub.Interrupted(interrupt)
	if _, alone := broker.(hub.Local); !alone {
		rt.countDelivered()
	}
	rt.presence = rt.newPresence()
	rt.hub.Observe(rt.hooks.occupied)
	rt.presence.Observe(rt.hooks.member)
	if shared, ok := broker.(cluster.Presence); ok {
		rt.presence.Share(shared.PresenceChanged)
	}
	rt.publisher = publisher{settings: rt.settings, hub: rt.hub, registry: rt.registry, stats: rt.stats, feeds: &rt.live, hooks: rt.hooks}
	rt.restore()
	// Watch before reading the apps: other processes can change the store at any time.
	rt.registry.Watch(rt.appChanged)
	hooked := make(map[string][]keystore.Hook)
	for page, next := rt.registry.Apps("", manage.MaxPage); ; page, next = rt.registry.Apps(next, manage.MaxPage) {
		for _, app := range page {
			if len(app.Hooks) > 0 {
				hooked[app.ID] = app.Hooks
			}
			rt.stats.Enter(app.ID)
			rt.expiry.Watch(app.ID)
		}
		if next == "" {
			break
		}
	}
	rt.gateway = &manage.Gateway{
		KeystorePlace: rt.key.keystore,
		Registry:      rt.registry,
		Channels:      rt.hub,
		Sockets:       gatewaySockets{&rt.sockets, rt},
		Presence:      rt.presence,
		Publisher:     &rt.publisher,
		Feeds:         &rt.live,
		Webhooks:      rt.hooks,
		CheckHookURL:  func(url string) error { return webhook.CheckURL(url, rt.settings().allowsPrivateHooks()) },
		Defaults:      func() manage.Defaults { return rt.settings().defaults() },
		Draining:      rt.draining.Load,
		Machines:      rt.machines,
	}
	rt.sio = socketio.NewServer(rt.socketConfig(), rt.accept)
	rt.eio = engineio.NewServer(rt.engineConfig(), rt.open)
	rt.shrinking.Go(rt.shrink)
	rt.nodes.runtime = rt
	if relay, ok := broker.(hub.Relay); ok {
		rt.relay = relay
		relay.Relayed(rt.pass)
	}
	if shared, ok := broker.(cluster.Cluster); ok {
		if err := rt.join(shared); err != nil {
			return nil, errors.Join(fmt.Errorf("joining the other machines: %w", err), rt.Destruct())
		}
	}
	rt.hooks.begin(hooked)
	return rt, nil
}

// checkDir returns an error if the running configuration has the keystore's directory open,
// as it does when only the broker is another one.
func (rt *runtime) checkDir() error {
	running, err := activeRuntime()
	if err != nil || rt.keystoreDir == "" || running.keystoreDir != rt.keystoreDir {
		return nil //nolint:nilerr // nothing runs
	}
	return fmt.Errorf("a reload cannot change the broker while the keystore stays in %s, which two brokers cannot use at once: "+
		"stop Caddy and start it with the new configuration, or change the keystore as well, as `redis <url>` does", rt.keystoreDir)
}

// replaced reports whether a reload has put another keystore or broker in place of this one.
func (rt *runtime) replaced() bool {
	next, err := activeRuntime()
	return err == nil && next != rt
}

// activeRuntime returns the runtime of the running configuration.
func activeRuntime() (*runtime, error) {
	ctx := caddy.ActiveContext()
	if ctx.Context == nil { // not all apps of the first configuration have started
		return nil, apierr.Unavailable("The server is starting. Try again.", time.Second)
	}
	app, err := ctx.AppIfConfigured("realtime")
	if err != nil {
		return nil, apierr.Unavailable("The running configuration does not use realtime. Add the realtime directive to a site and reload.", time.Second)
	}
	a := app.(*App)
	select {
	case <-a.started:
		return a.runtime, nil
	default:
		return nil, apierr.Unavailable("The server is starting. Try again.", time.Second)
	}
}

// newHub returns a hub that encodes messages for clients.
func newHub(broker hub.Broker) (*hub.Hub[*socketio.Broadcast], error) {
	return hub.New(broker, hub.Codec[*socketio.Broadcast]{
		Encode:  func(m *hub.Message) *socketio.Broadcast { return socketio.NewBroadcast(m.Event, m.Data, m.ID()) },
		Text:    (*socketio.Broadcast).Text,
		Payload: socketio.ParseBroadcast,
	})
}

// shrinkPause is the interval at which unused memory of limits is released, and
// webhooks are told how much was refused.
const shrinkPause = time.Minute

// shrink runs until the runtime is closed.
func (rt *runtime) shrink() {
	tick := time.NewTicker(shrinkPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			rt.hub.Shrink()
			rt.hooks.rejected.tell(rt.hooks)
			rt.hooks.refresh()
		case <-rt.closed:
			return
		}
	}
}

// appChanged applies a change to an app. before is nil if the app was created, now
// is nil if it was deleted.
func (rt *runtime) appChanged(before, now *keystore.App) {
	rt.hooks.note(before, now)
	switch {
	case before == nil: // a new app has no sockets
		rt.stats.Enter(now.ID)
		rt.expiry.Watch(now.ID)
		return
	case now == nil:
		rt.presence.Forget(before.ID)
		rt.hub.Forget(before.ID)
		rt.stats.Forget(before.ID)
		rt.appOrigins.Forget(before.ID)
	}
	rt.expiry.Watch(before.ID)
	rt.sockets.recheck(before.ID, now)
}

// settings returns the settings in force.
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

// addressOf returns a session's client prefix, which is not valid if the client has
// no address.
func addressOf(data any) netip.Prefix {
	customer, _ := access.ClientPrefix(data.(*visitor).ip)
	return customer
}

func (rt *runtime) engineConfig() engineio.Config {
	s := rt.settings()
	prefix := ""
	if rt.others != nil {
		prefix = rt.machineID
	}
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
		IDPrefix:       prefix,
		Logger:         rt.log,
		Describe:       describe,
	}
}

// describe returns the log fields that identify a session's client.
func describe(data any) []zap.Field {
	v, ok := data.(*visitor)
	if !ok {
		return nil
	}
	return []zap.Field{zap.String("client_ip", v.ip)}
}

const (
	// settleLimit bounds how long a reload waits for polls, whose answers it
	// holds meanwhile.
	settleLimit = 1100 * time.Millisecond

	// endedLimit bounds how long a reload waits for the previous configuration's
	// HTTP servers to end their polls. Caddy does not wait for that.
	endedLimit = time.Second

	// closeTime is how long after the end of a configuration its HTTP servers
	// can take to close their listeners: Caddy stops apps in no particular order.
	closeTime = 100 * time.Millisecond
)

// expect prepares for a configuration that is about to start. Its HTTP servers may
// listen before it starts, or fail and close their listeners again. By then, every
// polling client has a poll on this runtime, and keeps it.
func (rt *runtime) expect(a *App) {
	rt.eio.AwaitEnded(endedLimit)
	a.hold.Begin()
	rt.mu.Lock()
	rt.expected = a
	rt.holdAnswers()
	rt.mu.Unlock()
	rt.eio.Settle(settleLimit)
}

// forget reverts expect for a configuration that does not start.
func (rt *runtime) forget(a *App) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.expected == a {
		rt.expected = nil
		rt.holdAnswers()
	}
}

// start makes a configuration the one in force. It fails if the configuration's
// node_address cannot be listened on, or if what it says of the keystore or the broker is
// refused.
func (rt *runtime) start(a *App) error {
	if err := rt.renew(a); err != nil {
		return err
	}
	if err := rt.nodes.listen(a.ctx, a.NodeAddress); err != nil {
		return err
	}
	rt.mu.Lock()
	rt.configs = append(rt.configs, a)
	if rt.expected == a {
		rt.expected = nil
	}
	rt.configure()
	rt.mu.Unlock()
	rt.live.End() // their requests belong to servers that are closing
	return nil
}

// stop removes a configuration: the old one after a reload, the new one after a
// failed reload.
func (rt *runtime) stop(a *App) {
	if back := rt.remove(a); back != nil {
		if err := rt.renew(back); err != nil {
			rt.log.Error("the keystore or the broker refuses the previous configuration, so connections are made as the one that failed says; correct the configuration before the next reload or restart", zap.Error(err))
		}
	}
}

// remove is stop without what renew does. It returns the configuration that is in force
// again, if the new one has not started, or not for long.
func (rt *runtime) remove(a *App) (back *App) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	i, newest := slices.Index(rt.configs, a), len(rt.configs)-1
	if i >= 0 && i < newest {
		rt.stats.Reloads.Inc()
	}
	rt.configs = slices.DeleteFunc(rt.configs, func(c *App) bool { return c == a })
	rt.configure()
	if left := len(rt.configs); left > 0 && (i < 0 || i == newest) {
		back = rt.configs[left-1]
	}
	return back
}

// holdAnswers holds answers to polls while there are two configurations. The
// caller must hold mu.
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

// configure applies the latest configuration. The caller must hold mu.
func (rt *runtime) configure() {
	rt.nodes.keep(rt.configs)
	if len(rt.configs) == 0 {
		return // keep the last settings until the runtime is closed
	}
	rt.holdAnswers()
	latest := rt.configs[len(rt.configs)-1]
	rt.lasting.Use(latest.logger)
	rt.current.Store(&latest.Settings)
	rt.hooks.configure(&latest.Settings)
	rt.hub.Configure(hub.Limits{
		Ahead:   int(latest.MaxQueue / 2), // a socket can be in several channels
		History: latest.HistoryMemory,
		Replay:  int(latest.MaxQueue / 2),
		Away:    *latest.MaxConnections,
	})
	rt.sio.Configure(rt.socketConfig())
	rt.eio.Configure(rt.engineConfig())
	rt.useSites()
	if rt.others != nil {
		rt.others.cluster.Update(rt.machine())
	}
}

// refuse counts a refused request under the app that it claims to belong to.
func (rt *runtime) refuse(claimed, attempt string, refusal *apierr.Error) {
	countRefusal(rt.stats, rt.registry, rt.hooks, claimed, attempt, refusal)
}

// Destruct implements caddy.Destructor. Nothing uses the runtime anymore: the
// configuration has another keystore or none, or the process is exiting.
func (rt *runtime) Destruct() error {
	close(rt.closed)
	rt.shrinking.Wait()
	rt.eio.Close()
	rt.nodes.close()
	rt.sio.Wait()
	rt.expiry.Stop()
	// Close the registry first: until then, a change by another process can make
	// the broker forget an app.
	rt.presence.Close()
	rt.hooks.close() // a receiver may have its hook disabled until then
	if rt.replaced() {
		rt.hooks.tellLeft()
	}
	closed := rt.registry.Close()
	if err := rt.hub.Close(); err != nil {
		rt.log.Error("the broker could not be closed", zap.Error(err))
	}
	rt.save()
	if closed != nil {
		rt.log.Error("the keystore could not be closed", zap.String("dir", rt.key.keystore), zap.Error(closed))
		return fmt.Errorf("closing the keystore: %w", closed)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Destructor = (*runtime)(nil)
)
