package stats

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// MaxApps is the maximum number of apps with their own metrics.
const MaxApps = 100

// The labels for all other requests. No app's ID looks like them.
const (
	Other   = "other"   // apps beyond MaxApps
	Unknown = "unknown" // requests that name an app that does not exist
)

// App holds the metrics of one app. They are not children of vectors that all apps
// share: a refusal counted while the app is being deleted would then recreate its
// series permanently.
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

// apps holds the apps with their own metrics, and two entries for all others. An app
// gets its metrics when it is created, never because a client names it. An app that
// does not fit stays under Other for good: its counters would restart at zero.
type apps struct {
	byID           sync.Map // id → *App
	other, unknown *App

	mu    sync.Mutex // guards count
	count int        // entries in byID
}

// enter adds an app if there is room.
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

// forget removes an app, which makes room for another.
func (a *apps) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.byID.LoadAndDelete(id); known {
		a.count--
	}
}

// of returns the metrics that count an existing app.
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
	a.unknown.refused.Collect(out) // it counts only refusals
}
