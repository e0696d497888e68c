package realtime

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics collects what the runtime counts, for Caddy's own metrics: its admin
// endpoint's /metrics and its metrics handler. The numbers go on over reloads.
type metrics struct{ app *App }

var (
	connectionsDesc = prometheus.NewDesc("caddy_realtime_connections",
		"Clients whose connection is open, also those that are about to connect.", nil, nil)
	connectingDesc = prometheus.NewDesc("caddy_realtime_connecting",
		"Clients whose connection is open and whose credentials are not checked.", nil, nil)
	channelsDesc = prometheus.NewDesc("caddy_realtime_channels",
		"Channels that have subscribers.", nil, nil)
	subscriptionsDesc = prometheus.NewDesc("caddy_realtime_subscriptions",
		"Subscribers of all channels; one in two channels is two.", nil, nil)
	cutOffDesc = prometheus.NewDesc("caddy_realtime_cut_off_total",
		"Clients that were cut off: queue_full and write_timeout are slow, ping_timeout is gone.", []string{"reason"}, nil)
	refusedDesc = prometheus.NewDesc("caddy_realtime_connecting_refused_total",
		"Clients that were refused because more than max_connecting were about to connect.", nil, nil)
)

// Describe implements prometheus.Collector.
func (metrics) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{connectionsDesc, connectingDesc, channelsDesc, subscriptionsDesc, cutOffDesc, refusedDesc} {
		out <- desc
	}
}

// Collect implements prometheus.Collector. An app that has not started has
// nothing to tell.
func (m metrics) Collect(out chan<- prometheus.Metric) {
	select {
	case <-m.app.started:
	default:
		return
	}
	rt := m.app.runtime
	gauge := func(desc *prometheus.Desc, n int) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n))
	}
	counter := func(desc *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	gauge(connectionsDesc, rt.eio.Len())
	gauge(connectingDesc, rt.sio.Connecting())
	gauge(channelsDesc, rt.hub.Channels())
	gauge(subscriptionsDesc, rt.hub.Subscriptions())
	counter(cutOffDesc, rt.eio.Stats().Overflows.Load(), "queue_full")
	counter(cutOffDesc, rt.eio.Stats().WriteTimeouts.Load(), "write_timeout")
	counter(cutOffDesc, rt.eio.Stats().PingTimeouts.Load(), "ping_timeout")
	counter(refusedDesc, rt.sio.Refused())
}

// Interface guard
var _ prometheus.Collector = metrics{}
