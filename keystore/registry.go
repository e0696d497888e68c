package keystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/random"
)

// Why a change is refused, beside [ErrInvalidName].
var (
	ErrNotFound = errors.New("no such app")
	ErrClosed   = errors.New("the keystore is closed")
)

// Registry serves all apps from memory and changes them through its store, one
// change at a time: first on disk, then in memory, then to those who watch. A
// change that the store refuses changes nothing. All methods may be called
// concurrently.
type Registry struct {
	apps  sync.Map // id → *App
	list  list
	usage usage

	store  Store
	ctx    context.Context // of what the store is asked, until Close gives up
	cancel context.CancelFunc
	others *others // who also change the store; nil if nobody can

	mu       sync.Mutex // serialises changes, and guards all below
	watchers []func(before, after *App)
	closed   bool

	closing    sync.Once
	closeLimit time.Duration // how long Close waits
}

// closeTimeout is how long [Registry.Close] waits for its store, which may take
// [closeLimit] itself.
const closeTimeout = 2 * closeLimit

// Open loads all apps. From then on the store belongs to the registry, which
// closes it, also if Open fails.
func Open(store Store) (*Registry, error) {
	r := &Registry{store: store, closeLimit: closeTimeout}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	shared, isShared := store.(Shared)
	if isShared {
		r.others = newOthers()
		shared.Watch(r.others.note) // what changes while it is loaded is looked up after
	}
	apps, err := store.Load(r.ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("loading the keystore: %w", err), store.Close())
	}
	used, err := store.LoadUsed(r.ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("loading when keys were last used: %w", err), store.Close())
	}
	slices.SortFunc(apps, order) // each is then the last in the list
	for _, app := range apps {
		r.show(app)
	}
	r.startUsage(used)
	if isShared {
		go r.follow()
	}
	return r, nil
}

// App returns an app as it is now. It takes no lock.
func (r *Registry) App(id string) (*App, bool) {
	app, ok := r.apps.Load(id)
	if !ok {
		return nil, false
	}
	return app.(*App), true
}

// Apps returns a page of at most limit apps, and at least one if there is one,
// the oldest first: those behind the place after, which is "" for the first
// page, and for others the next of the page before. next is "" with the last
// page. Apps that come and go between two pages neither hide nor repeat
// others. Behind what is not a place there is nothing.
func (r *Registry) Apps(after string, limit int) (apps []*App, next string) {
	return r.list.page(after, limit)
}

// Created is a new app with its keys' plain text, which nobody can show again.
type Created struct {
	App          *App
	PublishKey   string
	SubscribeKey string
}

// Create makes an app with one key of each kind. Spaces around the name are
// dropped. The errors are [ErrInvalidName], [ErrClosed] and the store's.
func (r *Registry) Create(name string) (Created, error) {
	name, err := cleanName(name)
	if err != nil {
		return Created{}, err
	}
	publish, publishKey := NewKey(Publish, "")
	subscribe, subscribeKey := NewKey(Subscribe, "")
	app := &App{
		ID:      "app_" + random.Text(20),
		Name:    name,
		Created: time.Now().UTC(),
		Keys:    []Key{publish, subscribe},
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return Created{}, ErrClosed
	}
	if err := r.put(nil, app); err != nil {
		return Created{}, err
	}
	return Created{App: app, PublishKey: publishKey, SubscribeKey: subscribeKey}, nil
}

// Update lets change work on a copy of an app, and puts the copy in the app's
// place. An error of change is returned as it is, and nothing has happened;
// the others are [ErrNotFound], [ErrInvalidName], [ErrClosed], [ErrConflict] and
// the store's. change is called again if another process was faster.
// An app's ID and Created stay. change must not call the registry to change
// anything.
func (r *Registry) Update(id string, change func(*App) error) (*App, error) {
	var after *App
	err := r.change(id, func(before *App) error {
		draft := before.clone()
		if err := change(draft); err != nil {
			return err
		}
		after = draft.clone() // of which change has kept nothing
		after.ID, after.Created = before.ID, before.Created
		var err error
		if after.Name, err = cleanName(after.Name); err != nil {
			return err
		}
		return r.put(before, after)
	})
	if err != nil {
		return nil, err
	}
	return after, nil
}

// Delete removes an app with its keys. The errors are [ErrNotFound],
// [ErrClosed], [ErrConflict] and the store's.
func (r *Registry) Delete(id string) error {
	return r.change(id, func(before *App) error {
		if err := r.store.Delete(r.ctx, before); err != nil {
			r.doubt(id)
			return fmt.Errorf("deleting app %s: %w", id, err)
		}
		r.replace(before, nil)
		return nil
	})
}

// maxConflicts bounds how often a change is tried again that others were faster
// than.
const maxConflicts = 10

// change makes a change to an app as it is, again if somebody else has changed it
// meanwhile.
func (r *Registry) change(id string, do func(before *App) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for tries := 0; ; tries++ {
		before, err := r.changeable(id)
		if err != nil {
			return err
		}
		if err = do(before); !errors.Is(err, ErrConflict) || tries == maxConflicts {
			return err
		}
		if err := r.refresh(id); err != nil {
			return err
		}
	}
}

// changeable is the app of that id. It needs mu.
func (r *Registry) changeable(id string) (*App, error) {
	if r.closed {
		return nil, ErrClosed
	}
	app, ok := r.App(id)
	if !ok {
		return nil, ErrNotFound
	}
	return app, nil
}

// put makes an app durable, and then known. It needs mu.
func (r *Registry) put(before, after *App) error {
	if err := r.store.Put(r.ctx, before, after); err != nil {
		r.doubt(after.ID)
		return fmt.Errorf("storing app %s: %w", after.ID, err)
	}
	r.replace(before, after)
	return nil
}

// replace makes a change known that is in the store: before is nil for a new app,
// after for one that is gone. It needs mu.
func (r *Registry) replace(before, after *App) {
	if after == nil {
		r.apps.Delete(before.ID)
		r.list.remove(before)
	} else {
		r.show(after)
	}
	if before != nil {
		r.forgetUsage(before, after)
	}
	for _, fn := range r.watchers {
		fn(before, after)
	}
}

func (r *Registry) show(app *App) {
	r.apps.Store(app.ID, app)
	r.list.put(app)
}

// Watch has fn called after each change, which is durable and known by then, in
// their order: before is nil for a new app, after for one that is gone. No
// other change is made meanwhile, so fn must not block, nor change anything.
func (r *Registry) Watch(fn func(before, after *App)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers = append(r.watchers, fn)
}

// Check reads from the store. It waits for a change that is under way, so that
// a store which hangs is found, and returns the store's error or [ErrClosed].
func (r *Registry) Check(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	return r.store.Check(ctx)
}

// Close waits for a change that is under way, and closes the store. Later
// changes fail with [ErrClosed]; what only reads goes on. To close twice does
// nothing.
//
// A store that does not answer, as that of a disk which hangs, is left behind
// after [closeTimeout] with an error: it must hang neither an exit nor a reload.
// It is closed if it answers later.
func (r *Registry) Close() (err error) {
	r.closing.Do(func() {
		begin := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- r.close() }()
		timeout := time.NewTimer(r.closeLimit)
		defer timeout.Stop()
		select {
		case err = <-ended:
		case <-timeout.C:
			r.cancel()
			err = fmt.Errorf("the keystore has not answered for %s, its disk hangs; it was abandoned, and every answered change is on disk", time.Since(begin).Round(time.Millisecond))
		}
	})
	return err
}

func (r *Registry) close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	close(r.usage.quit)
	<-r.usage.ended
	if r.others != nil {
		r.others.stop()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writeUsage()
	defer r.cancel()
	return r.store.Close()
}
