// Package stats counts a gateway's activity, in total and by app, as Prometheus
// metrics. Every message passes through it: counting a message allocates nothing and
// takes no lock. The metrics are collected, not registered: Caddy has a registry per
// configuration, and these counters outlive it.
package stats

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Stats holds the metrics of one gateway. All methods are safe for concurrent use.
type Stats struct {
	Reloads prometheus.Counter
	Store   Store

	subscribers, publishing        prometheus.Histogram
	messages, deliveries           *prometheus.Desc   // count and sum of subscribers: see Collect
	queued                         prometheus.Counter // deliveries; nil: see Collect
	publishedBytes, deliveredBytes prometheus.Counter
	refused                        *prometheus.CounterVec // by attempt and code
	recoveries                     *prometheus.CounterVec // by outcome
	apps                           apps
}

// New returns metrics that start at zero. outcomes are those of a recovery, which
// have series from the start.
func New(outcomes ...string) *Stats {
	s := &Stats{
		Reloads: newCounter("reloads_total", "Configurations that took the place of another without closing sockets."),
		Store:   newStore(),
		subscribers: prometheus.NewHistogram(histogramOpts("message_subscribers", "Deliveries of a message.",
			0, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)),
		publishing: prometheus.NewHistogram(histogramOpts("publish_duration_seconds",
			"Time from a publish's body having been read until the message is with its subscribers' queues.",
			10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3,
			0.1, 0.25, 0.5, 1, 2.5, 5, 10)),
		messages: prometheus.NewDesc(namespace+"_messages_total",
			"Messages that were accepted and handed to their subscribers.", nil, nil),
		deliveries: prometheus.NewDesc(namespace+"_deliveries_total",
			"Messages that were queued for a subscriber, each counted once for each.", nil, nil),
		publishedBytes: newCounter("published_bytes_total", "Bytes of the data of the messages."),
		deliveredBytes: newCounter("delivered_bytes_total", "Bytes of the data of the deliveries."),
		refused: newCounterVec("refused_total", "What was refused, by what was attempted and the error's code.",
			"attempt", "code"),
		recoveries: newCounterVec("recoveries_total",
			"Clients that came back and asked for what they missed: recovered, or why they had to begin again.", "outcome"),
	}
	for _, outcome := range outcomes {
		s.recoveries.WithLabelValues(outcome)
	}
	s.apps.other, s.apps.unknown = newApp(Other), newApp(Unknown)
	return s
}

// Enter gives an app its own metrics, if fewer than MaxApps have them.
func (s *Stats) Enter(app string) { s.apps.enter(app) }

// Forget removes an app's own metrics. The totals keep its counts.
func (s *Stats) Forget(app string) { s.apps.forget(app) }

// App returns the metrics that count an existing app. Counts added after the app was
// forgotten are not collected.
func (s *Stats) App(id string) *App { return s.apps.of(id) }

// UnknownApp collects requests that name an app that does not exist.
func (s *Stats) UnknownApp() *App { return s.apps.unknown }

// CountDelivered has deliveries counted by Delivered alone: messages are also published
// on other machines. Call it before anything is counted.
func (s *Stats) CountDelivered() { s.queued = newCounter("deliveries_total", "") }

// Published counts a message that was delivered to its subscribers, or, after
// CountDelivered, that will be.
func (s *Stats) Published(app *App, size, subscribers int, took time.Duration) {
	published, deliveries := float64(size), float64(max(0, subscribers))
	s.subscribers.Observe(deliveries)
	s.publishing.Observe(max(0, took).Seconds())
	s.publishedBytes.Add(published)
	app.messages.Inc()
	app.publishedBytes.Add(published)
	if s.queued == nil {
		s.delivered(app, published, deliveries)
	}
}

// Delivered counts the deliveries of a message, wherever it was published.
func (s *Stats) Delivered(app *App, size, subscribers int) {
	s.queued.Add(float64(subscribers))
	s.delivered(app, float64(size), float64(subscribers))
}

func (s *Stats) delivered(app *App, size, subscribers float64) {
	s.deliveredBytes.Add(size * subscribers)
	app.deliveries.Add(subscribers)
	app.deliveredBytes.Add(size * subscribers)
}

// Refuse counts a refusal. attempt and code must not come from a client: each pair
// is kept.
func (s *Stats) Refuse(app *App, attempt, code string) {
	s.refused.WithLabelValues(attempt, code).Inc()
	app.refused.WithLabelValues(attempt, code).Inc()
}

// Recovered counts a client that came back, by the outcome.
func (s *Stats) Recovered(outcome string) { s.recoveries.WithLabelValues(outcome).Inc() }

// Describe implements prometheus.Collector.
func (s *Stats) Describe(out chan<- *prometheus.Desc) {
	out <- s.messages
	out <- s.deliveries
	for _, collector := range s.collectors() {
		collector.Describe(out)
	}
	s.apps.other.Describe(out)
}

// Collect implements prometheus.Collector. It derives the totals of messages and,
// unless Delivered counts them, deliveries from the histogram of subscribers: separate
// counters would be more memory that all cores write for each message.
func (s *Stats) Collect(out chan<- prometheus.Metric) {
	var subscribers dto.Metric
	if err := s.subscribers.Write(&subscribers); err != nil {
		out <- prometheus.NewInvalidMetric(s.messages, err)
	}
	counted := subscribers.GetHistogram()
	out <- prometheus.MustNewConstMetric(s.messages, prometheus.CounterValue, float64(counted.GetSampleCount()))
	deliveries := counted.GetSampleSum()
	if s.queued != nil {
		var all dto.Metric
		if err := s.queued.Write(&all); err != nil {
			out <- prometheus.NewInvalidMetric(s.deliveries, err)
		}
		deliveries = all.GetCounter().GetValue()
	}
	out <- prometheus.MustNewConstMetric(s.deliveries, prometheus.CounterValue, deliveries)
	for _, collector := range s.collectors() {
		collector.Collect(out)
	}
	s.apps.collect(out)
}

func (s *Stats) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		s.subscribers, s.publishing, s.publishedBytes, s.deliveredBytes, s.refused, s.recoveries, s.Reloads, s.Store.took, s.Store.errors,
	}
}

const namespace = "caddy_realtime"

func newCounter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

func newCounterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func histogramOpts(name, help string, buckets ...float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}
}

// Interface guard
var _ prometheus.Collector = (*Stats)(nil)
