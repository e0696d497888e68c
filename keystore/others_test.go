package keystore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// A shelf is the storage that processes share; each has its own sharedStore.
type shelf struct {
	mu     sync.Mutex // guards the fields below
	memory *memory
	stores []*sharedStore
	quiet  bool // changes are not announced
	lost   bool // changes are made, but neither answered nor announced
}

type sharedStore struct {
	shelf   *shelf
	changed func(string)
}

func (s *sharedStore) Watch(changed func(string)) { s.changed = changed }

func (s *sharedStore) locked() (*memory, func()) {
	s.shelf.mu.Lock()
	return s.shelf.memory, s.shelf.mu.Unlock
}

func (s *sharedStore) Load(ctx context.Context) ([]*App, error) {
	m, unlock := s.locked()
	defer unlock()
	return m.Load(ctx)
}

func (s *sharedStore) Get(ctx context.Context, id string) (*App, error) {
	m, unlock := s.locked()
	defer unlock()
	return m.Get(ctx, id)
}

// tell announces a change. The caller must hold the shelf's mu.
func (s *sharedStore) tell(id string, err error) error {
	if err == nil && s.shelf.lost {
		return errors.New("the connection is lost")
	}
	if err == nil && !s.shelf.quiet {
		for _, store := range s.shelf.stores {
			go store.changed(id) // in any order, eventually
		}
	}
	return err
}

func (s *sharedStore) Put(ctx context.Context, before, after *App) error {
	m, unlock := s.locked()
	defer unlock()
	return s.tell(after.ID, m.Put(ctx, before, after))
}

func (s *sharedStore) Delete(ctx context.Context, before *App) error {
	m, unlock := s.locked()
	defer unlock()
	return s.tell(before.ID, m.Delete(ctx, before))
}

func (s *sharedStore) LoadUsed(context.Context) (map[string]time.Time, error) { return nil, nil }

func (s *sharedStore) PutUsed(context.Context, string, map[string]time.Time) error { return nil }

func (s *sharedStore) Check(context.Context) error { return nil }

func (s *sharedStore) Close() error { return nil }

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory.fail = err
}

// open opens another process's registry.
func (s *shelf) open(t *testing.T) *Registry {
	t.Helper()
	store := &sharedStore{shelf: s}
	registry, err := Open(store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = registry.Close() })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stores = append(s.stores, store)
	return registry
}

func newShelf() *shelf { return &shelf{memory: &memory{apps: make(map[string]*App)}} }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) { // polling interval
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func TestChangesOfOtherProcessesAreKnownSoon(t *testing.T) {
	shelf := newShelf()
	one, other := shelf.open(t), shelf.open(t)
	made := create(t, one, "shop")
	eventually(t, "the app is known", func() bool { _, ok := other.App(made.App.ID); return ok })

	gone := make(chan string, 10)
	other.Watch(func(before, after *App) {
		if after == nil {
			gone <- before.ID
		}
	})
	if _, err := one.RevokeKey(made.App.ID, publishKey(made)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key is revoked", func() bool {
		app, _ := other.App(made.App.ID)
		_, err := app.Check(Publish, made.PublishKey, time.Now())
		return errors.Is(err, ErrKeyRevoked)
	})
	if err := one.Delete(made.App.ID); err != nil {
		t.Fatal(err)
	}
	if id := <-gone; id != made.App.ID {
		t.Errorf("%s is gone", id)
	}
	if other.Len() != 0 {
		t.Errorf("%d apps are left", other.Len())
	}
}

func TestNoChangeIsLostBetweenProcesses(t *testing.T) {
	const processes, changes = 3, 100
	shelf := newShelf()
	var registries []*Registry
	for range processes {
		registries = append(registries, shelf.open(t))
	}
	id := create(t, registries[0], "shop").App.ID
	var work sync.WaitGroup
	for _, r := range registries {
		eventually(t, "the app is known", func() bool { _, ok := r.App(id); return ok })
		work.Go(func() {
			for range changes {
				_, err := r.Update(id, func(a *App) error { a.MaxChannels++; return nil })
				if err != nil && !errors.Is(err, ErrConflict) {
					t.Error(err)
				}
				for err != nil { // others were faster every time
					_, err = r.Update(id, func(a *App) error { a.MaxChannels++; return nil })
				}
			}
		})
	}
	work.Wait()
	for _, r := range registries {
		eventually(t, "all changes are known", func() bool { app, _ := r.App(id); return app.MaxChannels == processes*changes })
	}
}

func TestChangesThatNobodyWasToldOfAreFound(t *testing.T) {
	shelf := newShelf()
	one, other := shelf.open(t), shelf.open(t)
	deleted, changed := create(t, one, "deleted").App.ID, create(t, one, "changed").App.ID
	eventually(t, "both are known", func() bool { return other.Len() == 2 })
	shelf.mu.Lock()
	shelf.quiet = true
	shelf.mu.Unlock()
	if err := one.Delete(deleted); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Update(changed, func(a *App) error { a.Name = "new name"; return nil }); err != nil {
		t.Fatal(err)
	}
	made := create(t, one, "made").App.ID
	if _, err := other.Update(deleted, func(*App) error { return nil }); !errors.Is(err, ErrNotFound) {
		t.Errorf("who changes what is gone is told: %v", err)
	}
	if app, err := other.Update(changed, func(a *App) error { a.MaxChannels = 7; return nil }); err != nil || app.Name != "new name" {
		t.Errorf("who changes what was changed has %+v, %v", app, err)
	}
	shelf.fail(errors.New("out of reach"))
	shelf.stores[1].changed("")
	shelf.fail(nil)
	eventually(t, "what was made is known", func() bool { _, ok := other.App(made); return ok && other.Len() == 2 })
}

func TestChangeWhoseAnswerWasLostIsKnownSoon(t *testing.T) {
	shelf := newShelf()
	r := shelf.open(t)
	made := create(t, r, "shop")
	lose := func(lost bool) {
		shelf.mu.Lock()
		defer shelf.mu.Unlock()
		shelf.lost = lost
	}
	lose(true)
	if _, err := r.RevokeKey(made.App.ID, publishKey(made)); err == nil {
		t.Fatal("the answer was not lost")
	}
	eventually(t, "the key is revoked", func() bool {
		app, _ := r.App(made.App.ID)
		_, err := app.Check(Publish, made.PublishKey, time.Now())
		return errors.Is(err, ErrKeyRevoked)
	})
	if err := r.Delete(made.App.ID); err == nil {
		t.Fatal("the answer was not lost")
	}
	eventually(t, "the app is gone", func() bool { _, ok := r.App(made.App.ID); return !ok })
}
