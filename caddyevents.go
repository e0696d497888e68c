package realtime

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/webhook"
)

// eventPrefix begins the names of events in Caddy's events app.
const eventPrefix = "realtime."

// closeEvents bounds how long a reload and an exit wait for a handler of events.
const closeEvents = 5 * time.Second

// caddyEvents emits what happens in the apps into Caddy's events app. Its handlers
// run while an event is emitted, so a goroutine emits.
type caddyEvents struct {
	log     *zap.Logger
	handoff *webhook.Handoff
	ready   chan struct{} // closed by the first call of use
	closed  chan struct{} // closed when nothing is emitted any longer

	// wanted has the types that a handler wants, or nil if there are none.
	wanted atomic.Pointer[map[string]bool]

	target atomic.Pointer[eventTarget] // nil if there is none
	once   sync.Once                   // closes ready
	using  sync.Mutex                  // held by use
	busy   sync.Mutex                  // held while handlers run
}

// An eventTarget is the events app of one configuration.
type eventTarget struct {
	app *caddyevents.App
	ctx caddy.Context // of this configuration's App, the origin of the events

	cancel context.CancelFunc // of ctx
}

// newCaddyEvents returns caddyEvents that keep all events until use says which are
// wanted: clients can connect before all of Caddy's apps have started.
func newCaddyEvents(log *zap.Logger) *caddyEvents {
	c := &caddyEvents{log: log, ready: make(chan struct{}), closed: make(chan struct{})}
	all := make(map[string]bool)
	for _, typ := range webhook.Types() {
		all[typ] = true
	}
	c.wanted.Store(&all)
	c.handoff = webhook.NewHandoff(c.emit, log)
	return c
}

// wants reports whether a handler wants events of a type.
func (c *caddyEvents) wants(typ string) bool {
	wanted := c.wanted.Load()
	return wanted != nil && (*wanted)[typ]
}

// add queues an event if it is wanted.
func (c *caddyEvents) add(e webhook.Event) {
	if !c.wants(e.Type) {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	c.handoff.Add(e)
}

// use replaces the events app. nil stands for one without handlers. Afterwards the
// handlers of the previous one run no longer, unless one does not return in time.
func (c *caddyEvents) use(t *eventTarget) {
	c.using.Lock()
	defer c.using.Unlock()
	var wanted map[string]bool
	for _, typ := range webhook.Types() {
		if t != nil && t.app.ShouldEmit(eventPrefix+typ) {
			if wanted == nil {
				wanted = make(map[string]bool)
			}
			wanted[typ] = true
		}
	}
	if wanted == nil {
		c.wanted.Store(nil)
	} else {
		c.wanted.Store(&wanted)
	}
	before := c.target.Swap(t)
	c.once.Do(func() { close(c.ready) })
	if before == nil || before == t {
		return
	}
	defer before.cancel() // for a handler that does not return
	idle := make(chan struct{})
	go func() {
		c.busy.Lock() // until the handlers that run have returned
		defer c.busy.Unlock()
		close(idle)
	}()
	c.await(idle)
}

// await waits until handlers have returned.
func (c *caddyEvents) await(returned <-chan struct{}) {
	timeout := time.NewTimer(closeEvents)
	defer timeout.Stop()
	select {
	case <-returned:
	case <-timeout.C:
		c.log.Error("a handler of Caddy's events app does not return", zap.Duration("waited", closeEvents))
	}
}

// emit is called by the handoff.
func (c *caddyEvents) emit(e webhook.Event) {
	select {
	case <-c.ready:
	case <-c.closed:
		return
	}
	c.busy.Lock()
	defer c.busy.Unlock()
	if t := c.target.Load(); t != nil && t.ctx.Err() == nil && c.wants(e.Type) {
		t.app.Emit(t.ctx, eventPrefix+e.Type, eventData(&e))
	}
}

// close emits what is left.
func (c *caddyEvents) close() {
	select {
	case <-c.ready:
	default:
		close(c.closed) // no configuration has started
	}
	c.await(c.handoff.Close())
}

// eventData returns what handlers get: the fields that a webhook's event has, without
// the number, and with the app. JSON is text, for placeholders. At level debug, Caddy
// logs all of it.
func eventData(e *webhook.Event) map[string]any {
	data := map[string]any{"app": e.App, "time": e.Time.UTC().Format(time.RFC3339Nano)}
	for name, value := range map[string]string{
		"channel": e.Channel, "user": e.User, "connection": e.Connection, "event": e.Event,
		"code": e.Code, "reason": e.Reason, "info": string(e.Info), "data": string(e.Data),
	} {
		if value != "" {
			data[name] = text.MaskKeys(value)
		}
	}
	if e.Count > 0 {
		data["count"] = e.Count
	}
	return data
}

// awaitEvents has started called once all of Caddy's apps have started: until then,
// the events app takes subscriptions, and must not be used.
func (a *App) awaitEvents(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	events := app.(*caddyevents.App)
	origin := ctx
	cancelled, cancel := context.WithCancel(ctx.Context)
	origin.Context = cancelled
	target := &eventTarget{app: events, ctx: origin, cancel: cancel}
	if err := events.On("started", startedHandler{func() { a.emitInto(target) }}); err != nil {
		return fmt.Errorf("the events app: %w", err)
	}
	return nil
}

// emitInto makes the events app of this configuration the one in force.
func (a *App) emitInto(t *eventTarget) {
	if !a.held {
		return
	}
	a.runtime.mu.Lock()
	a.events = t
	a.runtime.mu.Unlock()
	a.runtime.useEvents()
}

// useEvents takes the events app of the latest configuration that has started
// completely.
func (rt *runtime) useEvents() {
	rt.mu.Lock()
	var latest *eventTarget
	for _, config := range rt.configs {
		if config.events != nil {
			latest = config.events
		}
	}
	last := len(rt.configs) == 0
	rt.mu.Unlock()
	if !last { // otherwise what is left goes where it went before
		rt.hooks.caddy.use(latest)
	}
}

// startedHandler is a handler of one event.
type startedHandler struct{ do func() }

// Handle implements caddyevents.Handler.
func (h startedHandler) Handle(context.Context, caddy.Event) error {
	h.do()
	return nil
}

// Interface guard
var _ caddyevents.Handler = startedHandler{}
