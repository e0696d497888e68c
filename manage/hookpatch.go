package manage

import (
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

const (
	hookExample   = `{"url":"https://app.example.com/hooks"}`
	eventsExample = `["channel.occupied","channel.vacated"]`
)

// check validates the whole patch and returns a function that applies it to a webhook.
func (p *HookPatch) check(g *Gateway) (func(*keystore.Hook), error) {
	if p.URL != nil {
		if err := checkHookURL(*p.URL); err != nil {
			return nil, err
		}
	}
	events, err := hookEvents(p.Events)
	if err != nil {
		return nil, err
	}
	prefix, err := hookPrefix(p.Prefix)
	if err != nil {
		return nil, err
	}
	if p.URL != nil && g.CheckHookURL != nil { // last, because it may take some time
		if err := g.CheckHookURL(*p.URL); err != nil {
			if refusal, ok := errors.AsType[*apierr.Error](err); ok {
				return nil, refusal
			}
			return nil, apierr.InvalidRequest("url cannot be used: %s.", err)
		}
	}
	return func(h *keystore.Hook) {
		if p.URL != nil {
			h.URL = *p.URL
		}
		if p.Events != nil {
			h.Events = events
		}
		if p.Prefix != nil {
			h.Prefix = prefix
		}
		if p.Enabled != nil {
			h.Enabled = *p.Enabled
		}
	}, nil
}

// checkHookURL checks what can be seen in a URL itself.
func checkHookURL(said string) error {
	if err := checkNoKey("url", said); err != nil {
		return err
	}
	if n := len(said); n > keystore.MaxHookURL {
		return apierr.InvalidRequest("url has %d bytes; at most %d are allowed.", n, keystore.MaxHookURL)
	}
	if i := strings.IndexFunc(said, func(c rune) bool { return c <= ' ' || c > '~' }); i >= 0 {
		return apierr.InvalidRequest("url has a space, or a character that is not ASCII, at byte %d. Percent-encode it; a host's name begins with xn-- then.", i+1)
	}
	u, err := url.Parse(said)
	if err != nil {
		return apierr.InvalidRequest("url is %s, which is not a URL. Send %s.", text.Quote(said), hookExample)
	}
	port, portErr := strconv.Atoi(u.Port())
	switch {
	case u.Scheme != "https" && u.Scheme != "http", u.Opaque != "", u.Hostname() == "":
		return apierr.InvalidRequest("url is %s. It begins with https:// or http:// and a host: %s.", text.Quote(said), hookExample)
	case u.User != nil:
		return apierr.InvalidRequest("url has a user or a password, which would be stored and shown in plain text. Remove it: the secret of the webhook proves who calls.")
	case strings.Contains(said, "#"):
		return apierr.InvalidRequest("url has a fragment, which is not sent. Remove it, from the # on.")
	case u.Port() != "" && (portErr != nil || port < 1 || port > 65535), strings.HasSuffix(u.Host, ":"):
		return apierr.InvalidRequest("url has the port %s. It is a number from 1 to 65535, or absent.", text.Quote(u.Port()))
	}
	return nil
}

// hookEvents reads the events of a webhook; nil are the default ones.
func hookEvents(raw json.RawMessage) ([]string, error) {
	if jsonscan.IsNull(raw) {
		return nil, nil
	}
	known := strings.Join(keystore.HookEvents(), ", ")
	if raw[0] != '[' {
		return nil, apierr.InvalidRequest("events is %s. Send a list: %s, or null for all but connection.opened and connection.closed.", jsonscan.Kind(raw[0]), eventsExample)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, apierr.InvalidJSON("events cannot be read: %s.", err)
	}
	if len(list) == 0 {
		return nil, apierr.InvalidRequest(`events is empty, so the webhook would never be called. Send null for all but connection.opened and connection.closed, or {"enabled":false}.`)
	}
	events := make([]string, 0, len(keystore.HookEvents()))
	for i, entry := range list {
		var event string
		if entry[0] != '"' || json.Unmarshal(entry, &event) != nil || !slices.Contains(keystore.HookEvents(), event) {
			return nil, apierr.InvalidRequest("events[%d] is %s. The events are %s.", i, text.Quote(strings.Trim(string(entry), `"`)), known)
		}
		if slices.Contains(events, event) {
			return nil, apierr.InvalidRequest("events[%d] is %s, which is in the list already. Remove it.", i, event)
		}
		events = append(events, event)
	}
	return events, nil
}

// hookPrefix reads what channels begin with; "" are all.
func hookPrefix(raw json.RawMessage) (string, error) {
	if jsonscan.IsNull(raw) {
		return "", nil
	}
	var prefix string
	if raw[0] != '"' || json.Unmarshal(raw, &prefix) != nil {
		return "", apierr.InvalidRequest(`prefix is %s. Send what the names of the channels begin with: "orders.", or null for all channels.`, jsonscan.Kind(raw[0]))
	}
	if prefix == "" {
		return "", nil
	}
	if begin, found := strings.CutSuffix(prefix, "*"); found {
		return "", apierr.InvalidRequest("prefix is %s. Send it without the *: %s.", text.Quote(prefix), text.Quote(begin))
	}
	if err := message.CheckChannel(prefix); err != nil {
		return "", apierr.InvalidRequest("prefix is %s, with which no channel begins. %s", text.Quote(prefix), apierr.As(err).Message)
	}
	return prefix, checkNoKey("prefix", prefix)
}

// AddHook adds a webhook to an app. The result has its secret, which cannot be shown
// again.
func (o Operator) AddHook(app string, patch *HookPatch) (keystore.Hook, error) {
	if patch.URL == nil {
		return keystore.Hook{}, apierr.InvalidRequest("url is missing. Send where the events go: %s.", hookExample)
	}
	change, err := patch.check(o.gateway)
	if err != nil {
		return keystore.Hook{}, err
	}
	made := keystore.Hook{Enabled: true}
	change(&made)
	return complete(o, func() (keystore.Hook, error) {
		hook, err := o.gateway.Registry.AddHook(app, keystore.HookSpec{URL: made.URL, Events: made.Events, Prefix: made.Prefix, Enabled: made.Enabled})
		if err != nil {
			return hook, hookError(err, app, "")
		}
		o.audit("webhook added", app, zap.String("webhook", hook.ID), zap.String("host", hostOf(hook.URL)))
		return hook, nil
	})
}

// PatchHook applies a patch to a webhook.
func (o Operator) PatchHook(app, id string, patch *HookPatch) (keystore.Hook, error) {
	change, err := patch.check(o.gateway)
	if err != nil {
		return keystore.Hook{}, err
	}
	return complete(o, func() (keystore.Hook, error) {
		hook, err := o.gateway.Registry.UpdateHook(app, id, func(h *keystore.Hook) error { change(h); return nil })
		if err != nil {
			return hook, hookError(err, app, id)
		}
		o.audit("webhook changed", app, zap.String("webhook", id), zap.String("host", hostOf(hook.URL)), zap.Bool("enabled", hook.Enabled))
		return hook, nil
	})
}

// RemoveHook removes a webhook. What has not been sent to it is dropped.
func (o Operator) RemoveHook(app, id string) error {
	return o.wait(func() error {
		if _, err := o.gateway.Registry.RemoveHook(app, id); err != nil {
			return hookError(err, app, id)
		}
		o.audit("webhook removed", app, zap.String("webhook", id))
		return nil
	})
}

// RotateHookSecret gives a webhook a new secret. The one before also signs for the
// overlap.
func (o Operator) RotateHookSecret(app, id, overlap string) (keystore.Hook, error) {
	stays, err := caddy.ParseDuration(overlap)
	if err != nil || stays < 0 || stays > MaxOverlap {
		return keystore.Hook{}, apierr.InvalidRequest(`overlap is how long the old secret also signs, from "0s" to "366d": {"overlap":"24h"}.`)
	}
	return complete(o, func() (keystore.Hook, error) {
		hook, err := o.gateway.Registry.RotateHookSecret(app, id, stays)
		if err != nil {
			return hook, hookError(err, app, id)
		}
		o.audit("webhook secret rotated", app, zap.String("webhook", id), zap.Duration("overlap", stays))
		return hook, nil
	})
}

// TestHook sends a test event to a webhook.
func (o Operator) TestHook(app, id string) error {
	found, ok := o.gateway.Registry.App(app)
	if !ok {
		return errNoSuchApp(app)
	}
	if found.Hook(id) == nil {
		return hookError(keystore.ErrHookNotFound, app, id)
	}
	if o.gateway.Webhooks == nil {
		return apierr.Unavailable("Deliveries to webhooks have not started. Try again.", time.Second)
	}
	if err := o.gateway.Webhooks.Test(app, id); err != nil {
		return err
	}
	o.audit("webhook tested", app, zap.String("webhook", id))
	return nil
}

// hostOf returns the host of a webhook for the log. The rest of the URL can be secret.
func hostOf(said string) string {
	u, err := url.Parse(said)
	if err != nil {
		return ""
	}
	return u.Host
}

// hookError explains why a webhook was not changed.
func hookError(err error, app, hook string) error {
	switch {
	case errors.Is(err, keystore.ErrHookNotFound):
		return apierr.NotFound("The app has no webhook %s. GET /realtime/webhooks/%s lists them by their ids.", text.Quote(hook), app)
	case errors.Is(err, keystore.ErrTooManyHooks):
		return apierr.InvalidRequest("%s. Remove one that is not used.", err)
	}
	return appError(err, app)
}
