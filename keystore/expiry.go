package keystore

import (
	"sync"
	"time"
)

// expiryStep is how often the clock is checked while a key is about to expire.
// Expiry follows the wall clock, which can be set in the meantime.
const expiryStep = 250 * time.Millisecond

// An Expiry watches for keys that expire, because expiry is not a change that
// the registry reports. It runs one goroutine until Stop.
type Expiry struct {
	app     func(id string) (*App, bool) // returns the current version
	expired func(app *App)               // called from that goroutine
	now     func() time.Time             // the wall clock, which can go back

	mu  sync.Mutex           // guards due
	due map[string]time.Time // when the next key of an app expires

	begun chan struct{} // wakes the goroutine to check due
	quit  chan struct{}
	ended chan struct{}
}

func StartExpiry(app func(string) (*App, bool), expired func(*App)) *Expiry {
	e := &Expiry{
		app:     app,
		expired: expired,
		now:     time.Now,
		due:     make(map[string]time.Time),
		begun:   make(chan struct{}, 1),
		quit:    make(chan struct{}),
		ended:   make(chan struct{}),
	}
	go e.run()
	return e
}

// Stop ends the goroutine and waits for it.
func (e *Expiry) Stop() {
	close(e.quit)
	<-e.ended
}

// Watch records when the next key of an app expires. Call it after a change,
// and before an expiring key admits a client, because the clock can have gone
// back since the key was seen to expire. It looks up the app under the lock, so
// that the later of two calls never uses an older version than the earlier one.
func (e *Expiry) Watch(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var next time.Time
	if app, ok := e.app(id); ok {
		next = app.NextExpiry(e.now())
	}
	if next.IsZero() {
		delete(e.due, id)
		return
	}
	e.due[id] = next
	select {
	case e.begun <- struct{}{}:
	default:
	}
}

func (e *Expiry) run() {
	defer close(e.ended)
	for {
		select {
		case <-e.quit:
			return
		case <-e.begun:
		}
		tick := time.NewTicker(expiryStep)
		for e.look() {
			select {
			case <-e.quit:
				tick.Stop()
				return
			case <-tick.C:
			}
		}
		tick.Stop()
	}
}

// look calls expired for apps with an expired key. It returns false if no other
// key is about to expire.
func (e *Expiry) look() bool {
	now := e.now()
	var expired []string
	e.mu.Lock()
	for app, at := range e.due {
		if !now.Before(at) {
			expired = append(expired, app)
			delete(e.due, app)
		}
	}
	more := len(e.due) > 0
	e.mu.Unlock()
	for _, id := range expired {
		if app, ok := e.app(id); ok {
			e.expired(app)
			e.Watch(id) // another key may expire next
		}
	}
	return more
}
