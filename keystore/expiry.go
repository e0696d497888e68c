package keystore

import (
	"sync"
	"time"
)

// expiryStep is how often the clock is looked at while a key is about to
// expire. It is the wall clock that counts, which may be set meanwhile.
const expiryStep = 250 * time.Millisecond

// An Expiry watches for keys that expire, as nobody changes anything then. It
// runs one goroutine, until Stop.
type Expiry struct {
	app     func(id string) (*App, bool) // as it is now
	expired func(app *App)               // called from that goroutine
	now     func() time.Time             // the wall clock, which may go back

	mu  sync.Mutex           // guards due
	due map[string]time.Time // when the next key of an app expires

	begun chan struct{} // has the goroutine look at due
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

// Watch takes note of an app as it is now: after a change, and before a key that
// expires lets a client in, as the clock may have gone back since the key was
// seen to expire. It looks the app up under the lock, so
// that of two calls the later one never goes by what was before the earlier.
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

// look reports what has expired. It is false if nothing is about to.
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
			e.Watch(id) // there may be a next key
		}
	}
	return more
}
