package realtime

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
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
	if size, most := int64(len(m.Data)), settings.maxBody(app); size > most {
		return message.Receipt{}, limit.Result{}, apierr.PayloadTooLarge(most, strconv.FormatInt(size, 10))
	}
	// Check the rate last: a publish refused for another reason must not count.
	publishes, window := settings.rateLimit(app)
	result := p.limits.Allow(app.ID, publishes, window)
	if !result.OK {
		return message.Receipt{}, result, apierr.RateLimited(publishes, window, result.RetryAfter)
	}
	receipt, err := p.hub.Publish(ctx, hub.Message{App: app.ID, Channel: m.Channel, Event: m.Event, Data: m.Data, Except: m.Except})
	if err != nil {
		return message.Receipt{}, result, fmt.Errorf("publishing: %w", err)
	}
	p.stats.Published(p.stats.App(app.ID), len(m.Data), receipt.Subscribers, time.Since(m.Received))
	if p.feeds.Watched(app.ID) {
		p.feeds.Tell(app.ID, live.Event{
			Kind: live.Published, Channel: text.MaskKeys(m.Channel), Event: text.MaskKeys(m.Event), Data: m.Data,
			Message: receipt.ID, Offset: receipt.Offset, Subscribers: receipt.Subscribers,
		})
	}
	return message.Receipt(receipt), result, nil
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
