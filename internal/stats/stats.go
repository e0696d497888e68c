// Package stats counts what a gateway does, in all and by app, for those who
// operate it. It is on the way of every message: to count one is some atomic
// additions and no allocation.
package stats

import (
	"sync/atomic"
	"time"
)

// Stats are the counts of one gateway. All methods may be called concurrently.
type Stats struct {
	// Subscribers has the number of deliveries of each message, Publishing the
	// time that each took, in nanoseconds.
	Subscribers, Publishing *Histogram

	PublishedBytes atomic.Uint64
	DeliveredBytes atomic.Uint64
	Refused        Refusals
	Reloads        atomic.Uint64
	Store          Store

	apps apps
}

// New begins to count.
func New() *Stats {
	s := &Stats{
		Subscribers: NewHistogram(0, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000),
		Publishing: newDurations(
			10*time.Microsecond, 25*time.Microsecond, 50*time.Microsecond, 100*time.Microsecond, 250*time.Microsecond, 500*time.Microsecond,
			time.Millisecond, 2500*time.Microsecond, 5*time.Millisecond, 10*time.Millisecond, 25*time.Millisecond, 50*time.Millisecond,
			100*time.Millisecond, 250*time.Millisecond, 500*time.Millisecond, time.Second, 2500*time.Millisecond, 5*time.Second, 10*time.Second,
		),
	}
	s.Store.init()
	return s
}

// Enter begins to count an app by itself, if fewer than MaxApps are.
func (s *Stats) Enter(app string) { s.apps.enter(app) }

// Forget ends what is counted of an app by itself. In all it stays counted.
func (s *Stats) Forget(app string) { s.apps.forget(app) }

// App is where an app that exists is counted. Whoever keeps it across the app's
// end counts for nobody.
func (s *Stats) App(id string) *App { return s.apps.of(id) }

// UnknownApp is where those are counted that claim an app which there is not.
func (s *Stats) UnknownApp() *App { return &s.apps.unknown }

// EachApp calls fn for what is counted by app, in no order; see [Other] and
// [Unknown].
func (s *Stats) EachApp(fn func(name string, app *App)) { s.apps.each(fn) }

// Published counts a message that was handed to its subscribers.
func (s *Stats) Published(app *App, size, subscribers int, took time.Duration) {
	published, deliveries := uint64(size), uint64(max(0, subscribers))
	delivered := published * deliveries
	s.Subscribers.Observe(deliveries)
	s.Publishing.observe(took)
	s.PublishedBytes.Add(published)
	s.DeliveredBytes.Add(delivered)
	app.Messages.Add(1)
	app.Deliveries.Add(deliveries)
	app.PublishedBytes.Add(published)
	app.DeliveredBytes.Add(delivered)
}

// Refuse counts a refusal.
func (s *Stats) Refuse(app *App, attempt, code string) {
	kind := Refusal{attempt, code}
	s.Refused.add(kind, 1)
	app.Refused.add(kind, 1)
}
