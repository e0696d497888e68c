package realtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/webhook"
)

// hooks send what happens in the apps to their webhooks, and emit it into Caddy's
// events app.
type hooks struct {
	log      *zap.Logger
	registry *keystore.Registry
	manager  *webhook.Manager // nil if its directory cannot be used
	shared   bool             // machines share what happens; the sender has it wait then
	later    *webhook.Debounce
	caddy    *caddyEvents
	rejected rejections

	mu    sync.Mutex // guards the fields below, and orders the calls of manager.Set
	byApp map[string][]keystore.Hook
	begun bool
}

// The debounce of what a reloading page takes back.
const hookDelay = 3 * time.Second

// closeHooks bounds how long an exit waits for requests to webhooks.
const closeHooks = 5 * time.Second

// hooksDir returns the directory of the webhooks' queues. Each keystore has its own, because
// a reload with another keystore opens the new one before it closes the old one.
func (rt *runtime) hooksDir() string {
	if rt.keystoreDir != "" {
		return filepath.Join(rt.keystoreDir, "webhooks")
	}
	sum := sha256.Sum256([]byte(rt.key.keystore))
	return filepath.Join(caddy.AppDataDir(), "realtime.webhooks-"+hex.EncodeToString(sum[:8]))
}

// newHooks opens the queues. Without them, everything but webhooks works.
func newHooks(log *zap.Logger, registry *keystore.Registry, dir string, settings *Settings, shared *sharedHooks) *hooks {
	h := &hooks{log: log, registry: registry, caddy: newCaddyEvents(log), byApp: make(map[string][]keystore.Hook), shared: shared != nil}
	options := webhook.Options{Logger: log, AllowPrivate: settings.allowsPrivateHooks(), Disabled: h.disabled}
	if h.shared {
		h.later = webhook.NewDebounce(h.caddy.add, hookDelay)
		shared.hooks = h
		shared.describe(&options)
		h.manager, _ = webhook.Open(options) // fails only without a directory
		return h
	}
	h.later = webhook.NewDebounce(h.send, hookDelay)
	options.Dir = dir
	manager, err := webhook.Open(options)
	if err != nil {
		log.Error("webhooks are not sent: their queues cannot be used", zap.String("dir", dir), zap.Error(err))
		return h
	}
	h.manager = manager
	return h
}

// allowsPrivateHooks reports whether webhooks can be sent to private addresses.
func (s *Settings) allowsPrivateHooks() bool { return s.WebhookTargets == anyTargets }

// The values of webhook_targets.
const (
	publicTargets = "public"
	anyTargets    = "any"
)

// configure applies the settings of another configuration.
func (h *hooks) configure(s *Settings) {
	if h.manager != nil {
		h.manager.AllowPrivate(s.allowsPrivateHooks())
	}
}

// note takes over the hooks of an app that has changed. now is nil if the app was
// deleted. Until begin, nothing is sent.
func (h *hooks) note(before, now *keystore.App) {
	var id string
	var was, are []keystore.Hook
	if before != nil {
		id, was = before.ID, before.Hooks
	}
	if now != nil {
		id, are = now.ID, now.Hooks
	}
	if reflect.DeepEqual(was, are) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.byApp[id] = are
	if h.begun { // the first call of Set deletes the queues of hooks that it is not given
		h.set()
	}
}

// begin takes over the hooks of all apps, which were read while note was called
// already.
func (h *hooks) begin(apps map[string][]keystore.Hook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for app, hooks := range apps {
		if _, newer := h.byApp[app]; !newer {
			h.byApp[app] = hooks
		}
	}
	h.begun = true
	h.set()
}

// refresh drops secrets that sign no longer.
func (h *hooks) refresh() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.byApp) > 0 {
		h.set()
	}
}

// set tells the manager. The caller holds mu.
func (h *hooks) set() {
	if h.manager == nil {
		return
	}
	maps.DeleteFunc(h.byApp, func(_ string, hooks []keystore.Hook) bool { return len(hooks) == 0 })
	now := time.Now()
	var all []webhook.Hook
	for _, app := range slices.Sorted(maps.Keys(h.byApp)) {
		for _, k := range h.byApp[app] {
			hook := webhook.Hook{ID: k.ID, App: app, URL: k.URL, Events: k.Events, Prefix: k.Prefix, Enabled: k.Enabled, Created: k.Created}
			for _, secret := range k.Secrets(now) {
				if key, err := keystore.HookKey(secret); err == nil { // as the registry made sure
					hook.Secrets = append(hook.Secrets, key)
				}
			}
			all = append(all, hook)
		}
	}
	if err := h.manager.Set(all); err != nil && !errors.Is(err, webhook.ErrClosed) {
		h.log.Error("not all webhooks can be used", zap.Error(err))
	}
}

// disabled stores that a receiver wants nothing more.
func (h *hooks) disabled(hook webhook.Hook, reason string) {
	called := keystore.Hook{ID: hook.ID, URL: hook.URL}
	if _, err := h.registry.DisableHook(hook.App, called, reason); err != nil && !errors.Is(err, keystore.ErrHookNotFound) && !errors.Is(err, keystore.ErrNotFound) {
		h.log.Error("a webhook could not be disabled", zap.String("webhook", hook.ID), zap.Error(err))
	}
}

// wanted reports whether to make an event. nil wants none.
func (h *hooks) wanted(app, typ, channel string) bool {
	return h != nil && (h.manager != nil && h.manager.Wanted(app, typ, channel) || h.caddy.wants(typ))
}

// emit sends an event that is wanted.
func (h *hooks) emit(e webhook.Event) {
	if h.wanted(e.App, e.Type, e.Channel) {
		h.send(e)
	}
}

// send sends an event to those that want it.
func (h *hooks) send(e webhook.Event) {
	if h.manager != nil {
		h.manager.Emit(e)
	}
	h.caddy.add(e)
}

// occupied is called under the lock of a channel that has its first subscriber, or
// no longer has one.
func (h *hooks) occupied(app, channel string, now bool) {
	if !h.wanted(app, webhook.ChannelOccupied, channel) && !h.wanted(app, webhook.ChannelVacated, channel) {
		return
	}
	h.toggle("channel\x00"+app+"\x00"+channel, now,
		webhook.Event{Type: webhook.ChannelOccupied, App: app, Channel: channel},
		webhook.Event{Type: webhook.ChannelVacated, App: app, Channel: channel})
}

// member is occupied for the users in channels.
func (h *hooks) member(app, channel, user string, info json.RawMessage, is bool) {
	if !h.wanted(app, webhook.MemberJoined, channel) && !h.wanted(app, webhook.MemberLeft, channel) {
		return
	}
	h.toggle("member\x00"+app+"\x00"+channel+"\x00"+user, is,
		webhook.Event{Type: webhook.MemberJoined, App: app, Channel: channel, User: user, Info: info},
		webhook.Event{Type: webhook.MemberLeft, App: app, Channel: channel, User: user})
}

// tellHooks sends that the socket was opened or closed.
func (s *socket) tellHooks(typ, reason string) {
	if h := s.runtime.hooks; h.wanted(s.app, typ, "") {
		h.emit(webhook.Event{Type: typ, App: s.app, Connection: s.conn.ID(), User: s.rights.Load().name(), Reason: reason})
	}
}

// toggle sends that something is, or later that it is no longer, unless that is taken
// back by then.
func (h *hooks) toggle(key string, is bool, begun, ended webhook.Event) {
	emit := h.emit
	if h.shared {
		emit = h.caddy.add // the broker sees what the webhooks are told
	}
	switch {
	case !is:
		h.later.Hold(key, ended)
	case !h.later.TakeBack(key):
		emit(begun)
	}
}

// close writes what is left to disk. Nothing happens in the apps any longer.
func (h *hooks) close() {
	h.rejected.tell(h)
	h.later.Close()
	h.caddy.close()
	if h.manager == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeHooks)
	defer cancel()
	if err := within(closeHooks+saveTimeout, func() error { return h.manager.Close(ctx) }); err != nil {
		h.log.Error("the queues of webhooks could not be closed", zap.Error(err))
	}
}

// tellLeft logs that events are left in the queues of this machine, after a reload to another
// keystore or broker.
func (h *hooks) tellLeft() {
	if waiting := h.stats().Waiting; waiting > 0 && !h.shared {
		h.log.Warn("events for webhooks are left in the queues of the previous configuration: they are sent if a configuration has its keystore and broker again",
			zap.Int64("events", waiting))
	}
}

// State implements manage.Webhooks.
func (h *hooks) State(app, hook string) (manage.HookState, bool) {
	if h.manager == nil {
		return manage.HookState{}, false
	}
	s, ok := h.manager.State(app, hook)
	if !ok {
		return manage.HookState{}, false
	}
	state := manage.HookState{Waiting: s.Waiting, Dropped: s.Dropped, FailingSince: s.Failing, NextAttempt: s.NextAttempt}
	for _, d := range s.Deliveries {
		state.Last = append(state.Last, manage.Delivery{
			ID: d.ID, Time: d.Time, Events: d.Events, Attempt: d.Attempt, Status: d.Status, Error: d.Error, Took: d.Duration,
		})
	}
	return state, true
}

// stats returns the totals of all webhooks.
func (h *hooks) stats() webhook.Stats {
	if h.manager == nil {
		return webhook.Stats{}
	}
	return h.manager.Stats()
}

// Test implements manage.Webhooks.
func (h *hooks) Test(app, hook string) error {
	if h.manager == nil {
		return apierr.Unavailable("Webhooks are not sent: their queues cannot be used, and the log says why.", closeHooks)
	}
	err := h.manager.Test(app, hook)
	switch {
	case errors.Is(err, webhook.ErrDisabled):
		return apierr.InvalidRequest("The webhook is disabled, so nothing is sent to it. Enable it first: caddy realtime webhook set %s %s --enabled", app, hook)
	case errors.Is(err, webhook.ErrUnknown): // it was just removed, or the log says why it cannot be used
		return apierr.Unavailable("The webhook cannot be used. If it exists, the log says why.", time.Second)
	}
	return err
}

// Interface guard
var _ manage.Webhooks = (*hooks)(nil)
