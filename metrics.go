package realtime

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/stats"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// metrics collects what the runtime counts, for Caddy's own metrics: its admin
// endpoint's /metrics and its metrics handler. It only reads, so the numbers go
// on over reloads. What is counted by app is in families of its own, whose
// series go away with the app, while those of all apps never go back.
type metrics struct{ app *App }

// The families. README has the same table.
var (
	connectionsDesc   = newDesc("connections", "Clients whose connection is open, also those that are about to connect.")
	connectingDesc    = newDesc("connecting", "Clients whose connection is open and whose credentials are not checked.")
	channelsDesc      = newDesc("channels", "Channels that have subscribers.")
	subscriptionsDesc = newDesc("subscriptions", "Subscribers of all channels; one in two channels is two.")
	watchersDesc      = newDesc("live_watchers", "People who watch an app's events as they happen.")

	messagesDesc       = newDesc("messages_total", "Messages that were accepted and handed to their subscribers.")
	deliveriesDesc     = newDesc("deliveries_total", "Messages that were queued for a subscriber, each counted once for each.")
	publishedBytesDesc = newDesc("published_bytes_total", "Bytes of the data of the messages.")
	deliveredBytesDesc = newDesc("delivered_bytes_total", "Bytes of the data of the deliveries.")
	subscribersDesc    = newDesc("message_subscribers", "Deliveries of a message.")
	publishingDesc     = newDesc("publish_duration_seconds", "Time from a publish's body having been read until the message is with its subscribers' queues.")

	cutOffDesc = newDesc("cut_off_total",
		"Clients that were cut off: queue_full and write_timeout are slow, ping_timeout is gone, flood sends too much.", "reason")
	refusedDesc           = newDesc("refused_total", "What was refused, by what was attempted and the error's code.", "attempt", "code")
	connectingRefusedDesc = newDesc("connecting_refused_total",
		"Clients that were refused because max_connecting, or their address's share of it, were about to connect.")

	storeDurationDesc = newDesc("store_operation_duration_seconds", "Time that operations on the keystore's disk took.", "operation")
	storeErrorsDesc   = newDesc("store_errors_total", "Operations on the keystore's disk that failed.", "operation")
	reloadsDesc       = newDesc("reloads_total", "Configurations that took the place of another without closing sockets.")
)

func newDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_realtime_"+name, help, labels, nil)
}

// descriptions are those of all families.
func descriptions() []*prometheus.Desc {
	return []*prometheus.Desc{
		connectionsDesc, connectingDesc, channelsDesc, subscriptionsDesc, watchersDesc,
		messagesDesc, deliveriesDesc, publishedBytesDesc, deliveredBytesDesc, subscribersDesc, publishingDesc,
		cutOffDesc, refusedDesc, connectingRefusedDesc,
		storeDurationDesc, storeErrorsDesc, reloadsDesc,
		appConnectionsDesc, appSubscriptionsDesc, appMessagesDesc, appDeliveriesDesc,
		appPublishedBytesDesc, appDeliveredBytesDesc, appRefusedDesc,
	}
}

// Describe implements prometheus.Collector.
func (metrics) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range descriptions() {
		out <- desc
	}
}

// Collect implements prometheus.Collector. At a reload Caddy's admin endpoint
// is the new configuration's before its apps have started.
func (m metrics) Collect(out chan<- prometheus.Metric) {
	rt := m.app.current()
	if rt == nil {
		return
	}
	c := collection{out}
	c.gauge(connectionsDesc, rt.eio.Len())
	c.gauge(connectingDesc, rt.sio.Connecting())
	c.gauge(channelsDesc, rt.hub.Channels())
	c.gauge(subscriptionsDesc, rt.hub.Subscriptions())
	c.gauge(watchersDesc, rt.live.Len())
	c.counter(cutOffDesc, rt.eio.Stats().Overflows.Load(), "queue_full")
	c.counter(cutOffDesc, rt.eio.Stats().WriteTimeouts.Load(), "write_timeout")
	c.counter(cutOffDesc, rt.eio.Stats().PingTimeouts.Load(), "ping_timeout")
	c.counter(cutOffDesc, rt.eio.Stats().Floods.Load(), "flood")
	c.counter(connectingRefusedDesc, rt.sio.Refused())
	c.messages(rt.stats)
	c.store(&rt.stats.Store)
	c.counter(reloadsDesc, rt.stats.Reloads.Load())
	rt.stats.EachApp(c.app)
}

// A collection is one scrape.
type collection struct{ out chan<- prometheus.Metric }

func (c collection) messages(s *stats.Stats) {
	subscribers := s.Subscribers.Snapshot()
	c.counter(messagesDesc, subscribers.Count)
	c.counter(deliveriesDesc, subscribers.Sum)
	c.counter(publishedBytesDesc, s.PublishedBytes.Load())
	c.counter(deliveredBytesDesc, s.DeliveredBytes.Load())
	c.histogram(subscribersDesc, subscribers, 1)
	c.histogram(publishingDesc, s.Publishing.Snapshot(), nanosecond)
	s.Refused.Each(func(kind stats.Refusal, n uint64) { c.counter(refusedDesc, n, kind.Attempt, kind.Code) })
}

func (c collection) store(s *stats.Store) {
	for i := range s {
		operation := stats.StoreOperation(i).String()
		c.histogram(storeDurationDesc, s[i].Took.Snapshot(), nanosecond, operation)
		c.counter(storeErrorsDesc, s[i].Errors.Load(), operation)
	}
}

func (c collection) gauge(desc *prometheus.Desc, n int, labels ...string) {
	c.out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), labels...)
}

func (c collection) counter(desc *prometheus.Desc, n uint64, labels ...string) {
	c.out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
}

// nanosecond is how many make a second, the unit of metrics.
const nanosecond = 1e9

// histogram tells of values of which so many make a unit.
func (c collection) histogram(desc *prometheus.Desc, s stats.Snapshot, unit float64, labels ...string) {
	buckets := make(map[float64]uint64, len(s.Buckets))
	for bound, n := range s.Buckets {
		buckets[float64(bound)/unit] = n
	}
	c.out <- prometheus.MustNewConstHistogram(desc, s.Count, float64(s.Sum)/unit, buckets, labels...)
}

// countRefusal counts a refusal of one who claims to be of an app.
func countRefusal(s *stats.Stats, registry *keystore.Registry, claimed, attempt string, refusal *apierr.Error) {
	app := s.UnknownApp()
	if known, ok := registry.App(claimed); ok {
		app = s.App(known.ID)
	}
	s.Refuse(app, attempt, refusal.Code)
}

// Interface guard
var _ prometheus.Collector = metrics{}
