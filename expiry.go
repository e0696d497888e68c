package realtime

import (
	"sync"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// expiryStep is how often the clock is looked at while a key is about to
// expire. It is the wall clock that counts, which may be set meanwhile.
const expiryStep = 250 * time.Millisecond

// An expiry watches for keys that expire, as nobody changes anything then. It
// runs one goroutine, until stop.
type expiry struct {
	expired func(app string) // called from that goroutine

	mu  sync.Mutex           // guards due
	due map[string]time.Time // when the next key of an app expires

	begun chan struct{} // has the goroutine look at due
	quit  chan struct{}
	ended chan struct{}
}

func startExpiry(expired func(app string)) *expiry {
	e := &expiry{
		expired: expired,
		due:     make(map[string]time.Time),
		begun:   make(chan struct{}, 1),
		quit:    make(chan struct{}),
		ended:   make(chan struct{}),
	}
	go e.run()
	return e
}

// stop ends the goroutine and waits for it.
func (e *expiry) stop() {
	close(e.quit)
	<-e.ended
}

// watch takes note of an app as it is now, nil if it is gone.
func (e *expiry) watch(id string, app *keystore.App) {
	var next time.Time
	if app != nil {
		next = app.NextExpiry(time.Now())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
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

func (e *expiry) run() {
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
func (e *expiry) look() bool {
	now := time.Now()
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
	for _, app := range expired {
		e.expired(app)
	}
	return more
}
