package realtime

import "github.com/seed-c079cc48/caddy-realtime/internal/stats"

// What is counted by app, its id being the label: as many apps as stats.MaxApps
// have series of their own.
var (
	appConnectionsDesc    = newDesc("app_connections", "Clients of an app that are connected.", "app")
	appSubscriptionsDesc  = newDesc("app_subscriptions", "Subscribers of an app's channels.", "app")
	appMessagesDesc       = newDesc("app_messages_total", "Messages of an app.", "app")
	appDeliveriesDesc     = newDesc("app_deliveries_total", "Deliveries of an app's messages.", "app")
	appPublishedBytesDesc = newDesc("app_published_bytes_total", "Bytes of the data of an app's messages.", "app")
	appDeliveredBytesDesc = newDesc("app_delivered_bytes_total", "Bytes of the data of an app's deliveries.", "app")
	appRefusedDesc        = newDesc("app_refused_total", "What was refused to those who claimed an app.", "app", "attempt", "code")
)

// app tells of one app, or of several under one name.
func (c collection) app(name string, app *stats.App) {
	app.Refused.Each(func(kind stats.Refusal, n uint64) { c.counter(appRefusedDesc, n, name, kind.Attempt, kind.Code) })
	if name == stats.Unknown {
		return // it can but be refused
	}
	c.gauge(appConnectionsDesc, int(app.Connections.Load()), name)
	c.gauge(appSubscriptionsDesc, int(app.Subscriptions.Load()), name)
	c.counter(appMessagesDesc, app.Messages.Load(), name)
	c.counter(appDeliveriesDesc, app.Deliveries.Load(), name)
	c.counter(appPublishedBytesDesc, app.PublishedBytes.Load(), name)
	c.counter(appDeliveredBytesDesc, app.DeliveredBytes.Load(), name)
}
