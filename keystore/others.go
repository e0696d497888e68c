package keystore

import (
	"sync"
	"time"
)

// others collects the apps that other processes have changed in the store,
// until they are looked up.
type others struct {
	mu      sync.Mutex // guards the fields below
	changed map[string]struct{}

	wake  chan struct{} // something has changed
	quit  chan struct{}
	ended chan struct{}
}

// lookAgain is the delay before a failed lookup is retried.
const lookAgain = time.Second

func newOthers() *others {
	return &others{
		changed: make(map[string]struct{}),
		wake:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		ended:   make(chan struct{}),
	}
}

// note is the callback for Shared.Watch.
func (o *others) note(id string) {
	o.mu.Lock()
	o.changed[id] = struct{}{}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns the ids that have changed since the last call.
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

// follow looks up apps that other processes change, until the registry is
// closed.
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

// lookUp refreshes an app from the store, or all apps for "".
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
	r.apps.Range(func(key, _ any) bool {
		id := key.(string)
		r.update(id, kept[id])
		delete(kept, id)
		return true
	})
	for id, app := range kept {
		r.update(id, app)
	}
	return nil
}

// doubt schedules a lookup of an app whose change failed: the store may have
// made the change anyway, for example if its answer was lost. Other processes
// then see it.
func (r *Registry) doubt(id string) {
	if r.others != nil {
		r.others.note(id)
	}
}

// refresh updates an app from the store. The caller must hold mu.
func (r *Registry) refresh(id string) error {
	app, err := r.store.Get(r.ctx, id)
	if err != nil {
		return err
	}
	r.update(id, app)
	return nil
}

// update makes now the current version of an app, nil if it was deleted, unless
// they are the same. The caller must hold mu.
func (r *Registry) update(id string, now *App) {
	before, _ := r.App(id)
	if !same(before, now) {
		r.replace(before, now)
	}
}
