package realtime

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
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
)

// A publisher is the only path of a message to its subscribers, for every source
// of publishes: it applies the app's limits, delivers through the hub, counts, and
// informs live views.
type publisher struct {
	settings func() *Settings
	limits   limit.Group
	keys     idempotent.Memory
	hub      *hub.Hub[*engineio.Packet]
	registry *keystore.Registry
	stats    *stats.Stats
	feeds    *live.Feeds
}

// Publish implements manage.Publisher. It does not retain p.Data: the bytes belong
// to a request's body, whose buffer is reused.
func (p *publisher) Publish(ctx context.Context, app *keystore.App, m message.Publication) (message.Receipt, limit.Result, error) {
	if m.Received.IsZero() {
		m.Received = time.Now()
	}
	settings := p.settings()
	if app.Disabled {
		return message.Receipt{}, limit.Result{}, apierr.AppDisabled()
	}
	if err := settings.checkSize(app, m.Data); err != nil {
		return message.Receipt{}, limit.Result{}, err
	}
	result, err := p.allow(app, settings, 1)
	if err != nil {
		return message.Receipt{}, result, err
	}
	receipt, err := p.hub.Publish(ctx, hubMessage(app, m))
	if err != nil {
		return message.Receipt{}, result, fmt.Errorf("publishing: %w", err)
	}
	p.published(app, m, receipt)
	return message.Receipt(receipt), result, nil
}

// PublishAll is Publish for 1 to 100 publications in their order: all are accepted
// or none. The receipts are in the same order.
func (p *publisher) PublishAll(ctx context.Context, app *keystore.App, all []message.Publication) ([]message.Receipt, limit.Result, error) {
	settings := p.settings()
	if app.Disabled {
		return nil, limit.Result{}, apierr.AppDisabled()
	}
	for i := range all {
		if err := settings.checkSize(app, all[i].Data); err != nil {
			return nil, limit.Result{}, err
		}
	}
	result, err := p.allow(app, settings, len(all))
	if err != nil {
		return nil, result, err
	}
	accepted, err := p.hubPublishAll(ctx, app, all)
	receipts := make([]message.Receipt, len(accepted))
	for i, receipt := range accepted {
		p.published(app, all[i], receipt)
		receipts[i] = message.Receipt(receipt)
	}
	if err != nil {
		return nil, result, fmt.Errorf("publishing %d messages, of which %d were published: %w", len(all), len(accepted), err)
	}
	return receipts, result, nil
}

// hubPublishAll publishes in order. Once the first is accepted, the end of ctx does
// not stop the others. An error of the broker does: then the receipts are those of
// the accepted ones.
func (p *publisher) hubPublishAll(ctx context.Context, app *keystore.App, all []message.Publication) ([]hub.Receipt, error) {
	receipts := make([]hub.Receipt, 0, len(all))
	lasting := context.WithoutCancel(ctx)
	for i, m := range all {
		until := lasting
		if i == 0 {
			until = ctx
		}
		receipt, err := p.hub.Publish(until, hubMessage(app, m))
		if err != nil {
			return receipts, err
		}
		receipts = append(receipts, receipt)
	}
	return receipts, nil
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

// published counts a message and reports it to live views.
func (p *publisher) published(app *keystore.App, m message.Publication, receipt hub.Receipt) {
	p.stats.Published(p.stats.App(app.ID), len(m.Data), receipt.Subscribers, time.Since(m.Received))
	if p.feeds.Watched(app.ID) {
		p.feeds.Tell(app.ID, live.Event{
			Kind: live.Published, Channel: text.MaskKeys(m.Channel), Event: text.MaskKeys(m.Event), Data: m.Data,
			Message: receipt.ID, Offset: receipt.Offset, Subscribers: receipt.Subscribers,
		})
	}
}

func hubMessage(app *keystore.App, m message.Publication) hub.Message {
	return hub.Message{App: app.ID, Channel: m.Channel, Event: m.Event, Data: m.Data, Except: m.Except, NoHistory: m.NoHistory}
}

// Refused implements manage.Publisher.
func (p *publisher) Refused(app string, refusal *apierr.Error) {
	countRefusal(p.stats, p.registry, app, "publish", refusal)
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

// Interface guard
var _ manage.Publisher = (*publisher)(nil)
