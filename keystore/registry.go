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

// Reasons why a change is refused, besides [ErrInvalidName].
var (
	ErrNotFound = errors.New("no such app")
	ErrClosed   = errors.New("the keystore is closed")
)

// Registry serves all apps from memory and changes them through its store, one
// change at a time: first on disk, then in memory, then it calls the watchers.
// A change that the store refuses has no effect. All methods can be called
// concurrently.
type Registry struct {
	apps  sync.Map // id → *App
	list  list
	usage usage

	store  Store
	ctx    context.Context // for calls to the store, until Close gives up
	cancel context.CancelFunc
	others *others // other processes that change the store; nil if none can

	mu       sync.Mutex // serialises changes and guards the fields below
	watchers []func(before, after *App)
	closed   bool

	closing    sync.Once
	closeLimit time.Duration // how long Close waits
}

// closeTimeout is how long [Registry.Close] waits for its store, which can
// itself take [closeLimit].
const closeTimeout = 2 * closeLimit

// Open loads all apps. The registry then owns the store and closes it, even if
// Open fails.
func Open(store Store) (*Registry, error) {
	r := &Registry{store: store, closeLimit: closeTimeout}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	shared, isShared := store.(Shared)
	if isShared {
		r.others = newOthers()
		shared.Watch(r.others.note) // changes during loading are looked up afterwards
	}
	apps, err := store.Load(r.ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("loading the keystore: %w", err), store.Close())
	}
	used, err := store.LoadUsed(r.ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("loading when keys were last used: %w", err), store.Close())
	}
	slices.SortFunc(apps, order) // so that each is appended to the list
	for _, app := range apps {
		r.show(app)
	}
	r.startUsage(used)
	if isShared {
		go r.follow()
	}
	return r, nil
}

// App returns the current version of an app. It takes no lock.
func (r *Registry) App(id string) (*App, bool) {
	app, ok := r.apps.Load(id)
	if !ok {
		return nil, false
	}
	return app.(*App), true
}

// Apps returns a page of at most limit apps (at least one if any are left),
// oldest first. after is "" for the first page, and the previous page's next
// for any other. next is "" with the last page. Apps that are created or
// deleted between two pages neither hide nor repeat others. An invalid after
// returns no apps.
func (r *Registry) Apps(after string, limit int) (apps []*App, next string) {
	return r.list.page(after, limit)
}

// Created is a new app with the plain text of its keys, which cannot be shown
// again.
type Created struct {
	App          *App
	PublishKey   string
	SubscribeKey string
}

// Create creates an app with one key of each kind. It trims spaces around the
// name. The errors are [ErrInvalidName], [ErrClosed] and the store's.
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

// Update calls change with a copy of an app, and replaces the app with the
// copy. If change fails, nothing happens and its error is returned as it is;
// the other errors are [ErrNotFound], [ErrInvalidName], [ErrClosed],
// [ErrConflict] and the store's. change is called again if another process was
// faster. An app's ID and Created never change. change must not change anything
// through the registry.
func (r *Registry) Update(id string, change func(*App) error) (*App, error) {
	var after *App
	err := r.change(id, func(before *App) error {
		draft := before.clone()
		if err := change(draft); err != nil {
			return err
		}
		after = draft.clone() // change may still hold parts of draft
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

// Delete removes an app and its keys. The errors are [ErrNotFound],
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

// maxConflicts is how often a change is retried when other processes are
// faster.
const maxConflicts = 10

// change applies do to the current version of an app, and retries if another
// process has changed the app in the meantime.
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

// changeable returns the app with that id. The caller must hold mu.
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

// put stores an app durably, then makes it visible. The caller must hold mu.
func (r *Registry) put(before, after *App) error {
	if err := r.store.Put(r.ctx, before, after); err != nil {
		r.doubt(after.ID)
		return fmt.Errorf("storing app %s: %w", after.ID, err)
	}
	r.replace(before, after)
	return nil
}

// replace makes a stored change visible: before is nil for a new app, after for
// a deleted one. The caller must hold mu.
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

// Watch registers fn, which is called after each change, in order. By then the
// change is durable and visible. before is nil for a new app, after for a
// deleted one. No other change is made during the call, so fn must neither
// block nor change anything.
func (r *Registry) Watch(fn func(before, after *App)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers = append(r.watchers, fn)
}

// Check reads from the store. It first waits for a change in progress, so that
// it detects a store that hangs. It returns the store's error or [ErrClosed].
func (r *Registry) Check(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	return r.store.Check(ctx)
}

// Close waits for a change in progress and closes the store. Later changes fail
// with [ErrClosed]; reads still work. Closing twice does nothing.
//
// If the store does not answer, for example because its disk hangs, Close
// abandons it after [closeTimeout] and returns an error: it must block neither
// an exit nor a reload. The store is closed if it answers later.
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
