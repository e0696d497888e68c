package realtime

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/stats"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/webhook"
)

// metrics exports the runtime's counters through Caddy's own metrics: the admin
// endpoint's /metrics and the metrics handler. It only reads them, so they
// continue across reloads. Counters by app have their own families, whose series
// end when the app is deleted; the totals never decrease.
type metrics struct{ app *App }

// These families are read from other structures at collection; package stats has
// the rest. docs/operating.md lists them all.
var (
	connectionsDesc   = newDesc("connections", "Clients whose connection is open, also those that are about to connect.")
	connectingDesc    = newDesc("connecting", "Clients whose connection is open and whose credentials are not checked.")
	channelsDesc      = newDesc("channels", "Channels that have subscribers.")
	subscriptionsDesc = newDesc("subscriptions", "Subscribers of all channels; one in two channels is two.")
	awayDesc          = newDesc("away", "Clients that asked for recovery, are gone, and can still come back.")
	historyDesc       = newDesc("history_messages", "Messages in the history of all channels.")
	historyBytesDesc  = newDesc("history_bytes", "Bytes of memory that these messages take, which history_memory bounds.")
	watchersDesc      = newDesc("live_watchers", "People who watch an app's events as they happen.")

	historyEvictedDesc = newDesc("history_evicted_total",
		"Messages that left the history because of history_memory, before their number or age was reached.")
	replayedDesc = newDesc("replayed_total", "Messages that were sent to clients that came back, or that subscribed after them.")

	forwardedDesc = newDesc("forwarded_total",
		"Requests of sessions that other machines have: answered, failed, or busy, because too many were in flight.", "outcome")

	machinesDesc         = newDesc("machines", "Machines that are known to be alive, with this one.")
	fetchedDesc          = newDesc("sessions_fetched_total", "Sessions of other machines that were continued here.")
	brokerGapsDesc       = newDesc("broker_gaps_total", "How often messages from Redis may have been missing, and were read again.")
	brokerFilledDesc     = newDesc("broker_filled_total", "Messages that were delivered while that was done.")
	brokerLostDesc       = newDesc("broker_lost_total", "How often messages of a channel were missing for good: clients that can recover begin again.")
	brokerReconnectsDesc = newDesc("broker_reconnects_total", "Connections to Redis for messages that were lost.")
	brokerPublishesDesc  = newDesc("broker_publishes_total", "Requests to Redis to publish one message, or several.")
	brokerTimeDesc       = newDesc("broker_publish_seconds_total", "Time that these requests took.")
	brokerLagDesc        = newDesc("broker_lag_seconds", "How long the last probe took through Redis, back to this machine.")

	webhookWaitingDesc   = newDesc("webhook_waiting", "Events that the receivers of webhooks have yet to receive.")
	webhookDeliveredDesc = newDesc("webhook_delivered_total", "Events that receivers of webhooks have received.")
	webhookFailedDesc    = newDesc("webhook_failed_total", "Requests to webhooks that failed; most are repeated.")
	webhookDroppedDesc   = newDesc("webhook_dropped_total", "Events of webhooks that were given up.")

	cutOffDesc = newDesc("cut_off_total",
		"Clients that were cut off: queue_full and write_timeout are slow, ping_timeout is gone, flood sends too much.", "reason")
	connectingRefusedDesc = newDesc("connecting_refused_total",
		"Clients that were refused because max_connecting, or their address's share of it, were about to connect.")
)

// newStats creates counters in which every outcome of a recovery begins at 0.
func newStats() *stats.Stats {
	all := hub.Recoveries()
	outcomes := make([]string, 0, len(all))
	for _, outcome := range all {
		outcomes = append(outcomes, string(outcome))
	}
	return stats.New(outcomes...)
}

func newDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_realtime_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector. Caddy calls it before the runtime
// exists.
func (metrics) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		connectionsDesc, connectingDesc, channelsDesc, subscriptionsDesc, watchersDesc, cutOffDesc, connectingRefusedDesc,
		awayDesc, historyDesc, historyBytesDesc, historyEvictedDesc, replayedDesc,
		webhookWaitingDesc, webhookDeliveredDesc, webhookFailedDesc, webhookDroppedDesc, forwardedDesc,
		machinesDesc, fetchedDesc, brokerGapsDesc, brokerFilledDesc, brokerLostDesc, brokerReconnectsDesc, brokerPublishesDesc, brokerTimeDesc, brokerLagDesc,
	} {
		out <- desc
	}
	stats.New().Describe(out)
}

// Collect implements prometheus.Collector. During a reload, Caddy's admin
// endpoint uses the new configuration before its apps have started.
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
	c.gauge(awayDesc, rt.hub.AllAway())
	history := rt.hub.History()
	c.gauge(historyDesc, history.Messages)
	c.gauge(historyBytesDesc, int(history.Bytes))
	c.counter(historyEvictedDesc, history.Evicted)
	c.counter(replayedDesc, rt.hub.Replayed())
	hooks := rt.hooks.stats()
	c.gauge(webhookWaitingDesc, int(hooks.Waiting))
	c.counter(webhookDeliveredDesc, hooks.Delivered)
	c.counter(webhookFailedDesc, hooks.Failed)
	c.counter(webhookDroppedDesc, hooks.Dropped)
	c.counter(cutOffDesc, rt.eio.Stats().Overflows.Load(), "queue_full")
	c.counter(cutOffDesc, rt.eio.Stats().WriteTimeouts.Load(), "write_timeout")
	c.counter(cutOffDesc, rt.eio.Stats().PingTimeouts.Load(), "ping_timeout")
	c.counter(cutOffDesc, rt.eio.Stats().Floods.Load(), "flood")
	c.counter(connectingRefusedDesc, rt.sio.Refused())
	forwarded := rt.nodes.stats()
	c.counter(forwardedDesc, forwarded.Forwarded.Load(), "answered")
	c.counter(forwardedDesc, forwarded.Failed.Load(), "failed")
	c.counter(forwardedDesc, forwarded.Busy.Load(), "busy")
	rt.collectMachines(c)
	rt.stats.Collect(out)
}

// collectMachines collects what is of use if several machines share a broker.
func (rt *runtime) collectMachines(c collection) {
	machines := 1
	if rt.others != nil {
		machines = len(rt.others.cluster.Machines())
	}
	c.gauge(machinesDesc, machines)
	c.counter(fetchedDesc, rt.fetched.Load())
	m := rt.hub.Measures()
	c.counter(brokerGapsDesc, m.Gaps)
	c.counter(brokerFilledDesc, m.Filled)
	c.counter(brokerLostDesc, m.Lost)
	c.counter(brokerReconnectsDesc, m.Reconnects)
	c.counter(brokerPublishesDesc, m.Publishes)
	c.out <- prometheus.MustNewConstMetric(brokerTimeDesc, prometheus.CounterValue, m.PublishTime.Seconds())
	c.out <- prometheus.MustNewConstMetric(brokerLagDesc, prometheus.GaugeValue, m.Lag.Seconds())
}

// countDelivered counts deliveries when messages arrive, because other machines publish,
// too.
func (rt *runtime) countDelivered() {
	rt.stats.CountDelivered()
	rt.hub.Delivered(func(app string, size, subscribers int) {
		if _, known := rt.registry.App(app); known { // a health check's is not
			rt.stats.Delivered(rt.stats.App(app), size, subscribers)
		}
	})
}

// A collection is one scrape.
type collection struct{ out chan<- prometheus.Metric }

func (c collection) gauge(desc *prometheus.Desc, n int) {
	c.out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n))
}

func (c collection) counter(desc *prometheus.Desc, n uint64, labels ...string) {
	c.out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
}

// countRefusal counts a refused request under the app that it claims to belong to.
func countRefusal(s *stats.Stats, registry *keystore.Registry, h *hooks, claimed, attempt string, refusal *apierr.Error) {
	app := s.UnknownApp()
	if known, ok := registry.App(claimed); ok {
		app = s.App(known.ID)
		if h.wanted(known.ID, webhook.Rejected, "") {
			h.rejected.add(known.ID, refusal.Code)
		}
	}
	s.Refuse(app, attempt, refusal.Code)
}

// Interface guard
var _ prometheus.Collector = metrics{}
