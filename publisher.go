package realtime

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
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
	hub      *hub.Hub[*socketio.Broadcast]
	registry *keystore.Registry
	stats    *stats.Stats
	feeds    *live.Feeds
	hooks    *hooks
}

// Publish implements manage.Publisher. It does not retain p.Data: the bytes belong
// to a request's body, whose buffer is reused.
func (p *publisher) Publish(ctx context.Context, app *keystore.App, m message.Publication) (message.Receipt, limit.Result, error) {
	receipt, outcome, err := p.publish(ctx, app, m, hub.IdempotencyKey{})
	return receipt, outcome.Rate, err
}

// PublishAll is Publish for 1 to 100 publications in their order: all are accepted
// or none. The receipts are in the same order.
func (p *publisher) PublishAll(ctx context.Context, app *keystore.App, all []message.Publication) ([]message.Receipt, limit.Result, error) {
	receipts, outcome, err := p.publishAll(ctx, app, all, hub.IdempotencyKey{})
	return receipts, outcome.Rate, err
}

// publish is Publish with a key that makes it happen once, or without a value.
func (p *publisher) publish(ctx context.Context, app *keystore.App, m message.Publication, key hub.IdempotencyKey) (message.Receipt, hub.Outcome, error) {
	began, settings := time.Now(), p.settings()
	if err := settings.check(app, m); err != nil {
		return message.Receipt{}, hub.Outcome{}, err
	}
	terms := settings.terms(app, key)
	accepted, outcome, err := p.hub.Admit(ctx, settings.hubMessage(app, m), terms)
	if err != nil {
		outcome, err = refusal(err, 1, terms, outcome)
		return message.Receipt{}, outcome, err
	}
	if !outcome.Replayed {
		p.published(app, m, accepted, began)
	}
	return answerTo(accepted), outcome, nil
}

// publishAll is publish for several publications.
func (p *publisher) publishAll(ctx context.Context, app *keystore.App, all []message.Publication, key hub.IdempotencyKey) ([]message.Receipt, hub.Outcome, error) {
	began, settings := time.Now(), p.settings()
	if err := settings.check(app, all...); err != nil {
		return nil, hub.Outcome{}, err
	}
	messages := make([]hub.Message, len(all))
	for i, m := range all {
		messages[i] = settings.hubMessage(app, m)
	}
	terms := settings.terms(app, key)
	accepted, outcome, err := p.hub.AdmitAll(ctx, messages, terms)
	if err != nil {
		outcome, err = refusal(err, len(all), terms, outcome)
		return nil, outcome, err
	}
	receipts := make([]message.Receipt, len(accepted))
	for i, receipt := range accepted {
		if !outcome.Replayed {
			p.published(app, all[i], receipt, began)
		}
		receipts[i] = answerTo(receipt)
	}
	return receipts, outcome, nil
}

// refusal explains why the hub did not accept n messages.
func refusal(err error, n int, t hub.Terms, o hub.Outcome) (hub.Outcome, error) {
	if tooLarge, ok := errors.AsType[*hub.TooLargeError](err); ok {
		return hub.Outcome{}, apierr.BatchTooLarge(n, tooLarge.Size, tooLarge.Limit)
	}
	switch {
	case errors.Is(err, hub.ErrRateLimited) && n > 1 && n > t.Limit:
		return hub.Outcome{}, apierr.BatchOverLimit(n, t.Limit, t.Window)
	case errors.Is(err, hub.ErrRateLimited):
		return o, apierr.RateLimited(n, t.Limit, t.Window, o.Rate.RetryAfter)
	case errors.Is(err, hub.ErrIdempotencyInProgress):
		return o, apierr.IdempotencyInProgress()
	case errors.Is(err, hub.ErrIdempotencyMismatch):
		return o, apierr.IdempotencyMismatch()
	case errors.Is(err, hub.ErrStopped):
		return o, apierr.Unavailable("The server is shutting down. Try again.", time.Second)
	}
	return o, fmt.Errorf("publishing: %w", err)
}

// check checks publications that are accepted together, but for the rate limit, which
// must be the last check: publishes refused for another reason must not count.
func (s *Settings) check(app *keystore.App, all ...message.Publication) error {
	if app.Disabled {
		return apierr.AppDisabled()
	}
	for i := range all {
		if err := s.checkSize(app, all[i].Data); err != nil {
			return err
		}
	}
	return nil
}

// terms returns the terms of an app's publish.
func (s *Settings) terms(app *keystore.App, key hub.IdempotencyKey) hub.Terms {
	publishes, window := s.rateLimit(app)
	return hub.Terms{Limit: publishes, Window: window, Key: key}
}

// published counts a message, and reports it to live views. began is when its publish
// began, for one that does not say when it was received.
func (p *publisher) published(app *keystore.App, m message.Publication, receipt hub.Receipt, began time.Time) {
	if m.Received.IsZero() {
		m.Received = began
	}
	p.stats.Published(p.stats.App(app.ID), len(m.Data), receipt.Subscribers, time.Since(m.Received))
	if p.feeds.Watched(app.ID) {
		p.feeds.Tell(app.ID, live.Event{
			Kind: live.Published, Channel: text.MaskKeys(m.Channel), User: text.MaskKeys(m.User), Event: text.MaskKeys(m.Event), Data: m.Data,
			Message: receipt.ID, Offset: receipt.Offset, Subscribers: receipt.Subscribers,
		})
	}
}

func answerTo(r hub.Receipt) message.Receipt {
	return message.Receipt{ID: r.ID, Offset: r.Offset, Subscribers: r.Subscribers}
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
