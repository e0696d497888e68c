package keystore

import (
	"maps"
	"sync"
	"time"
)

// others are the processes that change a store beside this one: what they have
// changed, and is to be looked up.
type others struct {
	mu      sync.Mutex // guards all below
	changed map[string]struct{}

	wake  chan struct{} // something has changed
	quit  chan struct{}
	ended chan struct{}
}

// lookAgain is how long it takes until what could not be looked up is tried again.
const lookAgain = time.Second

func newOthers() *others {
	return &others{
		changed: make(map[string]struct{}),
		wake:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		ended:   make(chan struct{}),
	}
}

// note is what Shared.Watch is given.
func (o *others) note(id string) {
	o.mu.Lock()
	o.changed[id] = struct{}{}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns what has changed since the last call.
func (o *others) take() map[string]struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	changed := o.changed
	o.changed = make(map[string]struct{})
	return changed
}

// stop ends Registry.follow, and waits for it.
func (o *others) stop() {
	close(o.quit)
	<-o.ended
}

// follow looks up what others change, until the registry is closed.
func (r *Registry) follow() {
	defer close(r.others.ended)
	for {
		select {
		case <-r.others.quit:
			return
		case <-r.others.wake:
		}
		failed := false
		for id := range r.others.take() {
			if r.lookUp(id) != nil {
				r.others.note(id)
				failed = true
			}
		}
		if failed {
			select {
			case <-r.others.quit:
				return
			case <-time.After(lookAgain):
			}
		}
	}
}

// lookUp makes an app known as it is in the store, or all of them for "".
func (r *Registry) lookUp(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	if id != "" {
		return r.refresh(id)
	}
	apps, err := r.store.Load(r.ctx)
	if err != nil {
		return err
	}
	kept := make(map[string]*App, len(apps))
	for _, app := range apps {
		kept[app.ID] = app
	}
	for id := range maps.Collect(r.all()) {
		r.update(id, kept[id])
		delete(kept, id)
	}
	for id, app := range kept {
		r.update(id, app)
	}
	return nil
}

// doubt has an app looked up whose change has failed: the store may have made it
// all the same, as when an answer was lost. Others then know it.
func (r *Registry) doubt(id string) {
	if r.others != nil {
		r.others.note(id)
	}
}

// all yields all apps.
func (r *Registry) all() func(yield func(string, *App) bool) {
	return func(yield func(string, *App) bool) {
		r.apps.Range(func(id, app any) bool { return yield(id.(string), app.(*App)) })
	}
}

// refresh makes an app known as it is in the store. It needs mu.
func (r *Registry) refresh(id string) error {
	app, err := r.store.Get(r.ctx, id)
	if err != nil {
		return err
	}
	r.update(id, app)
	return nil
}

// update makes an app known, nil for one that is gone, unless it is known as it
// is. It needs mu.
func (r *Registry) update(id string, now *App) {
	before, _ := r.App(id)
	if !same(before, now) {
		r.replace(before, now)
	}
}
