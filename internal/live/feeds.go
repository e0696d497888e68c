package live

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// PerSecond is how many events a second one watcher receives.
	PerSecond = 100

	// UnauthenticatedPerSecond is how many unauthenticated events a second one
	// watcher receives in addition.
	UnauthenticatedPerSecond = 20

	// MaxWatchers limits the watchers of all apps.
	MaxWatchers = 64
)

// ErrTooMany is returned if there are already MaxWatchers watchers.
var ErrTooMany = errors.New("too many are watching")

// Feeds are the feeds of all apps. The zero value has no watchers; all methods
// can be called concurrently.
type Feeds struct {
	count atomic.Int32 // watchers; without any, events need no lock

	mu    sync.RWMutex // guards byApp
	byApp map[string][]*Watcher
}

// A Watcher receives the events of one app.
type Watcher struct {
	feeds   *Feeds
	app     string
	ended   chan struct{}
	tallies tallies

	events, unauthenticated budget
}

// A budget bounds the events of one kind, so that other kinds cannot use it up.
type budget struct {
	events chan Event
	left   atomic.Int64 // how many more events can be sent in this second
}

// Tally counts events, sent or not.
type Tally struct {
	Published  uint64 `json:"published"`
	Deliveries uint64 `json:"deliveries"`
	Refused    uint64 `json:"refused"`
	Skipped    uint64 `json:"skipped"` // events that were not sent
}

type tallies struct{ published, deliveries, refused, skipped atomic.Uint64 }

// Watched reports whether anybody watches an app. If not, callers need not
// build an event for Tell.
func (f *Feeds) Watched(app string) bool {
	if f.count.Load() == 0 {
		return false
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.byApp[app]) > 0
}

// Len returns the number of watchers of all apps.
func (f *Feeds) Len() int { return int(f.count.Load()) }

// Tell sends an event to an app's watchers. It never blocks. Data is copied.
func (f *Feeds) Tell(app string, e Event) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	e.Time = time.Now().UTC()
	copied := false
	for _, w := range f.byApp[app] {
		w.tallies.count(&e)
		b := &w.events
		if e.Unauthenticated {
			b = &w.unauthenticated
		}
		if b.left.Add(-1) < 0 {
			w.tallies.skipped.Add(1)
			continue
		}
		if !copied {
			copied = true
			if e.Size = len(e.Data); e.Size > MaxData {
				e.Data = nil
			}
			e.Data = bytes.Clone(e.Data)
		}
		select {
		case b.events <- e:
		default: // it has not read the last second's events
			w.tallies.skipped.Add(1)
		}
	}
}

func (t *tallies) count(e *Event) {
	if e.Kind == Published {
		t.published.Add(1)
		t.deliveries.Add(uint64(max(0, e.Subscribers)))
	}
	if e.Kind == Refused {
		t.refused.Add(1)
	}
}

// Watch starts watching an app. Close ends it.
func (f *Feeds) Watch(app string) (*Watcher, error) {
	w := &Watcher{feeds: f, app: app, ended: make(chan struct{})}
	w.events.events = make(chan Event, PerSecond)
	w.unauthenticated.events = make(chan Event, UnauthenticatedPerSecond)
	w.refill()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count.Load() >= MaxWatchers {
		return nil, ErrTooMany
	}
	if f.byApp == nil {
		f.byApp = make(map[string][]*Watcher)
	}
	f.byApp[app] = append(f.byApp[app], w)
	f.count.Add(1)
	return w, nil
}

// End ends all watchers. If they want to go on, they reconnect to the
// configuration that runs then.
func (f *Feeds) End() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, watchers := range f.byApp {
		for _, w := range watchers {
			close(w.ended)
		}
	}
	f.byApp = nil
	f.count.Store(0)
}

// Events returns the channel of the watcher's events, except for
// unauthenticated ones.
func (w *Watcher) Events() <-chan Event { return w.events.events }

// Unauthenticated returns the channel of the watcher's unauthenticated events.
func (w *Watcher) Unauthenticated() <-chan Event { return w.unauthenticated.events }

func (w *Watcher) refill() {
	w.events.left.Store(PerSecond)
	w.unauthenticated.left.Store(UnauthenticatedPerSecond)
}

// Ended returns a channel that is closed when the watcher should end.
func (w *Watcher) Ended() <-chan struct{} { return w.ended }

// Second returns the counts since the last call, and renews the budgets for
// another second.
func (w *Watcher) Second() Tally {
	w.refill()
	return Tally{
		Published:  w.tallies.published.Swap(0),
		Deliveries: w.tallies.deliveries.Swap(0),
		Refused:    w.tallies.refused.Swap(0),
		Skipped:    w.tallies.skipped.Swap(0),
	}
}

// Close ends the watcher.
func (w *Watcher) Close() {
	f := w.feeds
	f.mu.Lock()
	defer f.mu.Unlock()
	watchers := f.byApp[w.app]
	i := slices.Index(watchers, w)
	if i < 0 {
		return // already ended
	}
	if len(watchers) == 1 {
		delete(f.byApp, w.app)
	} else {
		f.byApp[w.app] = slices.Delete(watchers, i, i+1)
	}
	f.count.Add(-1)
}
