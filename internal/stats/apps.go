package stats

import (
	"sync"
	"sync/atomic"
)

// MaxApps is how many apps are counted each by itself at a time.
const MaxApps = 100

// The names under which other apps are counted. No app's id looks like them.
const (
	Other   = "other"   // those that are more than MaxApps
	Unknown = "unknown" // those that there are not
)

// App is what one app has had and done.
type App struct {
	Connections   atomic.Int64
	Subscriptions atomic.Int64

	Messages       atomic.Uint64
	Deliveries     atomic.Uint64
	PublishedBytes atomic.Uint64
	DeliveredBytes atomic.Uint64
	Refused        Refusals
}

// apps are those that are counted each by itself, and two for all others. Apps
// are entered as they are made, never because a client names one, and one that
// has no place when it is made is counted under Other for good: its counters
// would begin anew.
type apps struct {
	byID           sync.Map // id → *App
	other, unknown App

	mu     sync.Mutex // guards places
	places int        // how many are in byID
}

// enter gives an app a place, if there is one.
func (a *apps) enter(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.places == MaxApps {
		return
	}
	if _, known := a.byID.LoadOrStore(id, new(App)); !known {
		a.places++
	}
}

// forget gives the place of an app that is gone to the next one.
func (a *apps) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.byID.LoadAndDelete(id); known {
		a.places--
	}
}

// of is where an app that exists is counted.
func (a *apps) of(id string) *App {
	if app, ok := a.byID.Load(id); ok {
		return app.(*App)
	}
	return &a.other
}

// each calls fn for every app that has a place, for Other and for Unknown.
func (a *apps) each(fn func(name string, app *App)) {
	a.byID.Range(func(id, app any) bool {
		fn(id.(string), app.(*App))
		return true
	})
	fn(Other, &a.other)
	fn(Unknown, &a.unknown)
}
