package stats

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// MaxApps is how many apps have metrics of their own at a time.
const MaxApps = 100

// The names under which other apps are counted. No app's ID looks like them.
const (
	Other   = "other"   // apps beyond MaxApps
	Unknown = "unknown" // requests that name an app that does not exist
)

// App has the metrics of one app. They are not children of vectors that all
// apps share: a refusal that is counted while the app is deleted would bring
// its series back for good.
type App struct {
	Connections, Subscriptions prometheus.Gauge

	messages, deliveries, publishedBytes, deliveredBytes prometheus.Counter

	refused *prometheus.CounterVec // by attempt and code
}

func newApp(name string) *App {
	gauge := func(family, help string) prometheus.Gauge {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: family, Help: help}, []string{"app"}).WithLabelValues(name)
	}
	counter := func(family, help string) prometheus.Counter {
		return newCounterVec(family, help, "app").WithLabelValues(name)
	}
	return &App{
		Connections:    gauge("app_connections", "Clients of an app that are connected."),
		Subscriptions:  gauge("app_subscriptions", "Subscribers of an app's channels."),
		messages:       counter("app_messages_total", "Messages of an app."),
		deliveries:     counter("app_deliveries_total", "Deliveries of an app's messages."),
		publishedBytes: counter("app_published_bytes_total", "Bytes of the data of an app's messages."),
		deliveredBytes: counter("app_delivered_bytes_total", "Bytes of the data of an app's deliveries."),
		refused: newCounterVec("app_refused_total", "What was refused to those who claimed an app.",
			"app", "attempt", "code").MustCurryWith(prometheus.Labels{"app": name}),
	}
}

// Describe implements prometheus.Collector.
func (a *App) Describe(out chan<- *prometheus.Desc) {
	for _, collector := range a.collectors() {
		collector.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (a *App) Collect(out chan<- prometheus.Metric) {
	for _, collector := range a.collectors() {
		collector.Collect(out)
	}
}

func (a *App) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		a.Connections, a.Subscriptions, a.messages, a.deliveries, a.publishedBytes, a.deliveredBytes, a.refused,
	}
}

// apps are those with metrics of their own, and two for all others. An app gets
// its metrics when it is created, never because a client names it, and one that
// finds no room then is counted under Other for good: its counters would start
// again at zero.
type apps struct {
	byID           sync.Map // id → *App
	other, unknown *App

	mu    sync.Mutex // guards count
	count int        // how many are in byID
}

// enter adds an app, if there is room.
func (a *apps) enter(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count == MaxApps {
		return
	}
	if _, known := a.byID.LoadOrStore(id, newApp(id)); !known {
		a.count++
	}
}

// forget makes room for another app.
func (a *apps) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.byID.LoadAndDelete(id); known {
		a.count--
	}
}

// of returns the metrics that an existing app is counted in.
func (a *apps) of(id string) *App {
	if app, ok := a.byID.Load(id); ok {
		return app.(*App)
	}
	return a.other
}

func (a *apps) collect(out chan<- prometheus.Metric) {
	a.byID.Range(func(_, app any) bool {
		app.(*App).Collect(out)
		return true
	})
	a.other.Collect(out)
	a.unknown.refused.Collect(out) // nothing but refusals is counted there
}
