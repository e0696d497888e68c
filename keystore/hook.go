package keystore

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/random"
	"github.com/seed-c079cc48/caddy-realtime/internal/whsec"
)

// A Hook is a URL of an app's backend that is sent the events of the app.
type Hook struct {
	// ID is "hook_" followed by 20 letters and digits.
	ID string

	// URL is https or http, without a user and a fragment, of at most
	// [MaxHookURL] bytes.
	URL string

	// Events are the types that are sent. If there are none, all are sent except
	// those of connections.
	Events []string

	// Prefix is what the names of channels begin with whose events are sent.
	Prefix string

	// Enabled hooks are called.
	Enabled bool

	// Problem says why the gateway disabled the hook. It is empty if an operator
	// did, and if the hook is enabled.
	Problem string

	Created time.Time

	// Secret signs what is sent: "whsec_" and the base64 of 32 random bytes.
	Secret string

	// Previous is the secret before Secret, which also signs until PreviousUntil.
	// It is empty if there is none.
	Previous      string
	PreviousUntil time.Time
}

// The types of events that hooks are sent.
const (
	HookChannelOccupied  = "channel.occupied"  // a channel has its first subscriber
	HookChannelVacated   = "channel.vacated"   // it has none any more
	HookMemberJoined     = "member.joined"     // a user is in a channel with presence
	HookMemberLeft       = "member.left"       // the user is not any more
	HookConnectionOpened = "connection.opened" // only if named
	HookConnectionClosed = "connection.closed" // only if named
	HookClientEvent      = "client_event"      // a client has sent an event to others
	HookRejected         = "rejected"          // what was refused, per minute and code
)

// HookEvents returns the types of events, in the order of the documents.
func HookEvents() []string {
	return []string{
		HookChannelOccupied, HookChannelVacated, HookMemberJoined, HookMemberLeft,
		HookConnectionOpened, HookConnectionClosed, HookClientEvent, HookRejected,
	}
}

// DefaultHookEvents returns the types that are sent to a hook that names none.
func DefaultHookEvents() []string { return slices.DeleteFunc(HookEvents(), isOptional) }

// isOptional reports whether a type is sent only to hooks that name it: every client
// causes two of them.
func isOptional(event string) bool {
	return event == HookConnectionOpened || event == HookConnectionClosed
}

const (
	// MaxHooks is the maximum number of an app's hooks.
	MaxHooks = 10

	// MaxHookURL is the maximum length of a hook's URL, in bytes.
	MaxHookURL = 2048

	// maxChannel is the maximum length of a channel's name, and of its beginning.
	maxChannel = 200
)

// Reasons why a hook is not added or changed, besides [ErrNotFound] for the app.
var (
	ErrHookNotFound = errors.New("no such webhook")
	ErrTooManyHooks = fmt.Errorf("the app has %d webhooks, which is the maximum", MaxHooks)
)

// A HookSpec says which hook to add.
type HookSpec struct {
	URL     string
	Events  []string
	Prefix  string
	Enabled bool
}

// AddHook adds a hook to an app, with a new secret. The errors are [ErrNotFound],
// [ErrTooManyHooks], [ErrClosed] and the store's, which refuses an invalid hook.
func (r *Registry) AddHook(app string, spec HookSpec) (Hook, error) {
	hook := Hook{
		ID: "hook_" + random.Text(20), URL: spec.URL, Events: spec.Events, Prefix: spec.Prefix, Enabled: spec.Enabled,
		Created: time.Now().UTC(), Secret: newHookSecret(),
	}
	after, err := r.Update(app, func(a *App) error {
		if len(a.Hooks) >= MaxHooks {
			return ErrTooManyHooks
		}
		a.Hooks = append(a.Hooks, hook)
		return nil
	})
	if err != nil {
		return Hook{}, err
	}
	return *after.Hook(hook.ID), nil
}

// UpdateHook calls change with a copy of a hook, and replaces the hook with the copy.
// Its ID, secrets and the time of its creation never change. A hook that is enabled
// has no problem any more. If change fails, its error is returned as it is; the other
// errors are [ErrNotFound], [ErrHookNotFound], [ErrClosed] and the store's.
func (r *Registry) UpdateHook(app, id string, change func(*Hook) error) (Hook, error) {
	return r.changeHook(app, id, func(h *Hook) error {
		draft := *h
		if err := change(&draft); err != nil {
			return err
		}
		h.URL, h.Events, h.Prefix = draft.URL, draft.Events, draft.Prefix
		h.Enabled, h.Problem = draft.Enabled, draft.Problem
		if h.Enabled {
			h.Problem = ""
		}
		return nil
	})
}

// DisableHook disables a hook because of a problem, which it keeps to show. called is
// the hook as it was when the problem was found: if it was disabled or given another
// URL since then, it stays as it is. The errors are those of UpdateHook.
func (r *Registry) DisableHook(app string, called Hook, problem string) (Hook, error) {
	return r.UpdateHook(app, called.ID, func(h *Hook) error {
		if h.Enabled && h.URL == called.URL {
			h.Enabled, h.Problem = false, problem
		}
		return nil
	})
}

// RotateHookSecret gives a hook a new secret. The one before also signs for the
// overlap, and an even older one no longer does. The errors are those of UpdateHook.
func (r *Registry) RotateHookSecret(app, id string, overlap time.Duration) (Hook, error) {
	return r.changeHook(app, id, func(h *Hook) error {
		h.Previous, h.PreviousUntil = "", time.Time{}
		if overlap > 0 {
			h.Previous, h.PreviousUntil = h.Secret, time.Now().UTC().Add(overlap)
		}
		h.Secret = newHookSecret()
		return nil
	})
}

// RemoveHook removes a hook. The errors are those of UpdateHook.
func (r *Registry) RemoveHook(app, id string) (*App, error) {
	return r.Update(app, func(a *App) error {
		n := len(a.Hooks)
		a.Hooks = slices.DeleteFunc(a.Hooks, func(h Hook) bool { return h.ID == id })
		if len(a.Hooks) == n {
			return ErrHookNotFound
		}
		if len(a.Hooks) == 0 {
			a.Hooks = nil
		}
		return nil
	})
}

func (r *Registry) changeHook(app, id string, change func(*Hook) error) (Hook, error) {
	after, err := r.Update(app, func(a *App) error {
		h := a.Hook(id)
		if h == nil {
			return ErrHookNotFound
		}
		return change(h)
	})
	if err != nil {
		return Hook{}, err
	}
	return *after.Hook(id), nil
}

// Hook returns the app's hook with that id, or nil. It must not be changed.
func (a *App) Hook(id string) *Hook {
	i := slices.IndexFunc(a.Hooks, func(h Hook) bool { return h.ID == id })
	if i < 0 {
		return nil
	}
	return &a.Hooks[i]
}

// Secrets returns the secrets that sign at now, the current one first.
func (h *Hook) Secrets(now time.Time) []string {
	if h.Previous != "" && now.Before(h.PreviousUntil) {
		return []string{h.Secret, h.Previous}
	}
	return []string{h.Secret}
}

// HookKey returns the bytes of a secret, which key the signature.
func HookKey(secret string) ([]byte, error) {
	key, err := whsec.Parse(secret)
	if err == nil && len(key) != whsec.Size {
		err = fmt.Errorf("a secret of %d bytes, not %d", len(key), whsec.Size)
	}
	if err != nil {
		return nil, err
	}
	return key, nil
}

func newHookSecret() string {
	_, secret := whsec.New()
	return secret
}

func (a *App) validateHooks() error {
	if n := len(a.Hooks); n > MaxHooks {
		return fmt.Errorf("%d webhooks are more than %d", n, MaxHooks)
	}
	for i := range a.Hooks {
		h := &a.Hooks[i]
		if h.ID == "" || slices.ContainsFunc(a.Hooks[:i], func(other Hook) bool { return other.ID == h.ID }) {
			return fmt.Errorf("webhook %d has the id %q, which is empty or another's", i, h.ID)
		}
		if err := h.validate(); err != nil {
			return fmt.Errorf("webhook %s: %w", h.ID, err)
		}
	}
	return nil
}

func (h *Hook) validate() error {
	if n := len(h.URL); n == 0 || n > MaxHookURL {
		return fmt.Errorf("a URL of %d bytes", n)
	}
	if n := len(h.Prefix); n > maxChannel {
		return fmt.Errorf("a prefix of %d bytes", n)
	}
	for i, event := range h.Events {
		if !slices.Contains(HookEvents(), event) || slices.Contains(h.Events[:i], event) {
			return fmt.Errorf("the event %q is unknown, or duplicated", event)
		}
	}
	if h.Enabled && h.Problem != "" {
		return errors.New("it is enabled, and has a problem")
	}
	if (h.Previous == "") != h.PreviousUntil.IsZero() {
		return errors.New("its previous secret and how long it signs do not fit")
	}
	if _, err := HookKey(h.Secret); err != nil {
		return err
	}
	if h.Previous == "" {
		return nil
	}
	_, err := HookKey(h.Previous)
	return err
}

// cloneHooks returns a deep copy. No events are nil, as in a record.
func cloneHooks(hooks []Hook) []Hook {
	c := slices.Clone(hooks)
	for i := range c {
		c[i].Events = append([]string(nil), c[i].Events...)
	}
	return c
}
