package realtime

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/idempotent"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
	"github.com/seed-c079cc48/caddy-realtime/internal/live"
	"github.com/seed-c079cc48/caddy-realtime/internal/stats"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// A publisher is the only path of a message to its subscribers, for every source
// of publishes: it applies the app's limits, delivers through the hub, counts, and
// informs live views.
type publisher struct {
	settings func() *Settings
	limits   limit.Group
	keys     idempotent.Memory
	hub      *hub.Hub[*socketio.Broadcast]
	registry *keystore.Registry
	stats    *stats.Stats
	feeds    *live.Feeds
	hooks    *hooks
}

// Publish implements manage.Publisher. It does not retain p.Data: the bytes belong
// to a request's body, whose buffer is reused.
func (p *publisher) Publish(ctx context.Context, app *keystore.App, m message.Publication) (message.Receipt, limit.Result, error) {
	began, settings := time.Now(), p.settings()
	result, err := p.admit(app, settings, m)
	if err != nil {
		return message.Receipt{}, result, err
	}
	receipt, err := p.hub.Publish(ctx, settings.hubMessage(app, m))
	if err != nil {
		return message.Receipt{}, result, publishError(err)
	}
	return p.published(app, m, receipt, began), result, nil
}

// PublishAll is Publish for 1 to 100 publications in their order: all are accepted
// or none. The receipts are in the same order.
func (p *publisher) PublishAll(ctx context.Context, app *keystore.App, all []message.Publication) ([]message.Receipt, limit.Result, error) {
	began, settings := time.Now(), p.settings()
	result, err := p.admit(app, settings, all...)
	if err != nil {
		return nil, result, err
	}
	messages := make([]hub.Message, len(all))
	for i, m := range all {
		messages[i] = settings.hubMessage(app, m)
	}
	accepted, err := p.hub.PublishAll(ctx, messages)
	if err != nil {
		return nil, result, publishError(err)
	}
	receipts := make([]message.Receipt, len(accepted))
	for i, receipt := range accepted {
		receipts[i] = p.published(app, all[i], receipt, began)
	}
	return receipts, result, nil
}

// publishError explains why the hub did not accept a message.
func publishError(err error) error {
	if errors.Is(err, hub.ErrStopped) {
		return apierr.Unavailable("The server is shutting down. Try again.", time.Second)
	}
	return fmt.Errorf("publishing: %w", err)
}

// admit checks publications that are accepted together, and counts them against
// the app's rate limit.
func (p *publisher) admit(app *keystore.App, settings *Settings, all ...message.Publication) (limit.Result, error) {
	if app.Disabled {
		return limit.Result{}, apierr.AppDisabled()
	}
	for i := range all {
		if err := settings.checkSize(app, all[i].Data); err != nil {
			return limit.Result{}, err
		}
	}
	return p.allow(app, settings, len(all))
}

// allow counts n publishes of an app against its rate limit. It must be the last
// check: publishes refused for another reason must not count.
func (p *publisher) allow(app *keystore.App, settings *Settings, n int) (limit.Result, error) {
	publishes, window := settings.rateLimit(app)
	if n > 1 && publishes > 0 && n > publishes {
		return limit.Result{}, apierr.BatchOverLimit(n, publishes, window)
	}
	result := p.limits.AllowN(app.ID, n, publishes, window)
	if !result.OK {
		return result, apierr.RateLimited(n, publishes, window, result.RetryAfter)
	}
	return result, nil
}

// rate returns the state of the app's rate limit.
func (p *publisher) rate(app *keystore.App) limit.Result {
	publishes, window := p.settings().rateLimit(app)
	return p.limits.AllowN(app.ID, 0, publishes, window)
}

// published counts a message, reports it to live views, and returns the answer.
// began is when its publish began, for one that does not say when it was received.
func (p *publisher) published(app *keystore.App, m message.Publication, receipt hub.Receipt, began time.Time) message.Receipt {
	if m.Received.IsZero() {
		m.Received = began
	}
	answer := message.Receipt{ID: receipt.ID, Offset: receipt.Offset, Subscribers: receipt.Subscribers}
	p.stats.Published(p.stats.App(app.ID), len(m.Data), receipt.Subscribers, time.Since(m.Received))
	if p.feeds.Watched(app.ID) {
		p.feeds.Tell(app.ID, live.Event{
			Kind: live.Published, Channel: text.MaskKeys(m.Channel), User: text.MaskKeys(m.User), Event: text.MaskKeys(m.Event), Data: m.Data,
			Message: answer.ID, Offset: receipt.Offset, Subscribers: receipt.Subscribers,
		})
	}
	return answer
}

func (s *Settings) hubMessage(app *keystore.App, m message.Publication) hub.Message {
	channel := m.Channel
	if m.User != "" {
		channel = userChannel(m.User)
	}
	return hub.Message{
		App: app.ID, Channel: channel, Event: m.Event, Data: m.Data, Except: m.Except,
		NoHistory: m.NoHistory, Keep: s.history(app, channel),
	}
}

// Refused implements manage.Publisher.
func (p *publisher) Refused(app string, refusal *apierr.Error) {
	countRefusal(p.stats, p.registry, p.hooks, app, "publish", refusal)
}

// maxBody returns the app's limit for a publish, in bytes, capped by the
// configuration's.
func (s *Settings) maxBody(app *keystore.App) int64 {
	if app.MaxBody > 0 {
		return min(app.MaxBody, s.MaxBody)
	}
	return s.MaxBody
}

// checkSize returns an error if the data is larger than the app's limit, or nil.
func (s *Settings) checkSize(app *keystore.App, data []byte) *apierr.Error {
	if size, most := int64(len(data)), s.maxBody(app); size > most {
		return apierr.PayloadTooLarge(most, strconv.FormatInt(size, 10))
	}
	return nil
}

// rateLimit returns the app's limit, or the configuration's if the app has none.
// 0 publishes means no limit.
func (s *Settings) rateLimit(app *keystore.App) (publishes int, window time.Duration) {
	if app.Rate != nil {
		return app.Rate.Limit, app.Rate.Window
	}
	return s.RateLimit.Publishes, time.Duration(s.RateLimit.Window)
}

// history returns what a channel of the app keeps.
func (s *Settings) history(app *keystore.App, channel string) hub.Keep {
	if app.Rules != nil { // the default rules say nothing about it
		if h := app.Rule(channel).History; h != nil {
			return hub.Keep{Messages: h.Messages, Age: h.Age}
		}
	}
	if app.History != nil {
		return hub.Keep{Messages: app.History.Messages, Age: app.History.Age}
	}
	return hub.Keep{Messages: s.History.Count, Age: time.Duration(s.History.Window)}
}

// recovery returns how long a client of the app can be away and still recover; 0
// means that it cannot.
func (s *Settings) recovery(app *keystore.App) time.Duration {
	if app.Recovery != nil {
		return *app.Recovery
	}
	return time.Duration(*s.Recovery)
}

// Interface guard
var _ manage.Publisher = (*publisher)(nil)
