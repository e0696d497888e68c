package keystore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory is a store that fails on request.
type memory struct {
	apps   map[string]*App
	used   map[string]map[string]time.Time
	fail   error
	closed int
}

func (m *memory) Load(context.Context) ([]*App, error) {
	return slices.Collect(maps.Values(m.apps)), m.fail
}

func (m *memory) Get(_ context.Context, id string) (*App, error) { return m.apps[id], m.fail }

func (m *memory) Put(_ context.Context, before, after *App) error {
	switch {
	case m.fail != nil:
		return m.fail
	case !same(m.apps[after.ID], before):
		return ErrConflict
	}
	m.apps[after.ID] = after
	return nil
}

func (m *memory) Delete(_ context.Context, before *App) error {
	switch now := m.apps[before.ID]; {
	case m.fail != nil:
		return m.fail
	case now != nil && !same(now, before):
		return ErrConflict
	}
	delete(m.apps, before.ID)
	return nil
}

func (m *memory) LoadUsed(context.Context) (map[string]time.Time, error) {
	all := make(map[string]time.Time)
	for _, used := range m.used {
		maps.Copy(all, used)
	}
	return all, nil
}

func (m *memory) Check(context.Context) error { return m.fail }

func (m *memory) PutUsed(_ context.Context, app string, used map[string]time.Time) error {
	if m.fail == nil {
		m.used[app] = used
	}
	return m.fail
}

func (m *memory) Close() error {
	m.closed++
	return nil
}

func inMemory(tb testing.TB) (*Registry, *memory) {
	tb.Helper()
	store := &memory{apps: map[string]*App{}, used: map[string]map[string]time.Time{}}
	registry, err := Open(store)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := registry.Close(); err != nil {
			tb.Error(err)
		}
	})
	return registry, store
}

func TestCreateMakesOneKeyOfEachKind(t *testing.T) {
	registry, _ := inMemory(t)
	before := time.Now()
	made := create(t, registry, "  shop ")
	app, ok := registry.App(made.App.ID)
	if !ok || app != made.App || registry.Len() != 1 {
		t.Fatalf("%v of %d apps", app, registry.Len())
	}
	if !strings.HasPrefix(app.ID, "app_") || len(app.ID) != 24 || app.Name != "shop" || len(app.Keys) != 2 || app.Created.Before(before.Truncate(0)) {
		t.Errorf("%+v", app)
	}
	for kind, secret := range map[Kind]string{Publish: made.PublishKey, Subscribe: made.SubscribeKey} {
		if _, err := app.Check(kind, secret, time.Now()); err != nil || !strings.HasPrefix(secret, kind.Prefix()) {
			t.Errorf("%s key %s: %v", kind, secret, err)
		}
	}
}

func TestNames(t *testing.T) {
	registry, _ := inMemory(t)
	made := create(t, registry, "shop")
	for name, good := range map[string]bool{
		"a":                            true,
		"Größe ✓ 日本":                   true,
		" surrounded\t":                true,
		strings.Repeat("é", maxName):   true,
		"":                             false,
		" \t\n":                        false,
		"two\nlines":                   false,
		"zero\x00":                     false,
		"\xff":                         false,
		"right\u202eleft":              false,
		strings.Repeat("a", maxName+1): false,
	} {
		_, created := registry.Create(name)
		_, updated := registry.Update(made.App.ID, func(app *App) error {
			app.Name = name
			return nil
		})
		for _, err := range []error{created, updated} {
			if good && err != nil {
				t.Errorf("%q: %v", name, err)
			}
			if !good && (!errors.Is(err, ErrInvalidName) || !strings.Contains(err.Error(), "1 to 100 printable characters")) {
				t.Errorf("%q: %v, want an invalid name and what one is", name, err)
			}
		}
	}
}

func TestUpdateReplacesTheApp(t *testing.T) {
	registry, _ := inMemory(t)
	old := create(t, registry, "shop").App
	as := old.clone()
	var draft *App
	updated, err := registry.Update(old.ID, func(app *App) error {
		draft = app
		app.ID, app.Created = "app_other", time.Time{} // unchanged
		app.Name, app.Rate, app.AllowedOrigins = "store", &Rate{Limit: 1, Window: time.Second}, []string{"https://a.example"}
		app.Keys[0].Hash[0]++
		app.Keys[0].Revoked = time.Now()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(old, as) {
		t.Error("the old record has changed")
	}
	if now, _ := registry.App(old.ID); now != updated || now.Name != "store" || now.ID != old.ID || !now.Created.Equal(old.Created) {
		t.Errorf("%+v", now)
	}
	draft.Rate.Limit, draft.AllowedOrigins[0], draft.Keys[0].Label = 9, "x", "x"
	if updated.Rate.Limit != 1 || updated.AllowedOrigins[0] != "https://a.example" || updated.Keys[0].Label != "" {
		t.Error("what change has kept changes the record")
	}
}

func TestChangesOfUnknownAppsAreNotFound(t *testing.T) {
	registry, _ := inMemory(t)
	id := create(t, registry, "shop").App.ID
	for range 2 { // the second time, it no longer exists
		_, err := registry.Update("app_none", func(*App) error { panic("called") })
		if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if err := registry.Delete("app_none"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if id != "app_none" {
			if err := registry.Delete(id); err != nil {
				t.Error(err)
			}
			id = "app_none"
		}
	}
	if registry.Len() != 0 {
		t.Error(registry.Len(), "apps are left")
	}
}

func TestRefusedChangeChangesNothing(t *testing.T) {
	registry, store := inMemory(t)
	made := create(t, registry, "shop")
	registry.Watch(func(before, after *App) { t.Errorf("told of %v, %v", before, after) })
	refusal := errors.New("no")
	if _, err := registry.Update(made.App.ID, func(app *App) error {
		app.Name = "store"
		return refusal
	}); !errors.Is(err, refusal) {
		t.Errorf("%v, want that of change", err)
	}
	store.fail = errors.New("disk full")
	if made, err := registry.Create("store"); !errors.Is(err, store.fail) || made != (Created{}) {
		t.Error(made, err)
	}
	app, err := registry.Update(made.App.ID, func(app *App) error {
		app.Name = "store"
		return nil
	})
	if !errors.Is(err, store.fail) || app != nil {
		t.Error(app, err)
	}
	if err := registry.Delete(made.App.ID); !errors.Is(err, store.fail) {
		t.Error(err)
	}
	if app, _ := registry.App(made.App.ID); app != made.App {
		t.Errorf("%+v", app)
	}
	if apps, _ := registry.Apps("", 10); len(apps) != 1 || registry.Len() != 1 || apps[0] != made.App {
		t.Errorf("%v", apps)
	}
}

func TestClosedRegistryStillAnswers(t *testing.T) {
	registry, store := inMemory(t)
	id := create(t, registry, "shop").App.ID
	for range 2 {
		if err := registry.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if store.closed != 1 {
		t.Errorf("the store was closed %d times", store.closed)
	}
	_, created := registry.Create("store")
	_, updated := registry.Update(id, func(*App) error { return nil })
	for _, err := range []error{created, updated, registry.Delete(id)} {
		if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if _, ok := registry.App(id); !ok || registry.Len() != 1 {
		t.Error("the app is gone")
	}
}

func TestOpenClosesAStoreThatDoesNotLoad(t *testing.T) {
	store := &memory{fail: errors.New("damaged")}
	if _, err := Open(store); !errors.Is(err, store.fail) || store.closed != 1 {
		t.Errorf("%v; closed %d times", err, store.closed)
	}
}

// Watchers see a single history: each change starts from the result of the last
// one, and by then the registry knows it.
func TestWatchersSeeChangesInOrder(t *testing.T) {
	registry, _ := inMemory(t)
	current := map[string]*App{} // changes are serialised, and so is access to this
	registry.Watch(func(before, after *App) {
		id := ""
		switch {
		case before == nil:
			id = after.ID
		case after == nil, before.ID == after.ID:
			id = before.ID
		}
		if current[id] != before {
			t.Errorf("%s: before is %v, want %v", id, before, current[id])
		}
		if known, _ := registry.App(id); known != after {
			t.Errorf("%s: the registry has %v, want %v", id, known, after)
		}
		current[id] = after
	})
	shared := create(t, registry, "0").App.ID
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 100 {
				own, err := registry.Create("own")
				if err != nil {
					t.Error(err)
				}
				for _, id := range []string{own.App.ID, shared} {
					if _, err := registry.Update(id, func(app *App) error {
						app.Name += "."
						app.Name = app.Name[max(0, len(app.Name)-50):]
						app.Rate = &Rate{Limit: limitOf(app) + 1, Window: time.Second}
						return nil
					}); err != nil {
						t.Error(err)
					}
				}
				registry.App(shared)
				registry.Apps("", 5)
				if err := registry.Delete(own.App.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	if app, _ := registry.App(shared); limitOf(app) != 800 || registry.Len() != 1 {
		t.Errorf("%d updates of 800, %d apps of 1", limitOf(app), registry.Len())
	}
}

func limitOf(app *App) int {
	if app.Rate == nil {
		return 0
	}
	return app.Rate.Limit
}

func BenchmarkApp(b *testing.B) {
	registry, _ := inMemory(b)
	var id string
	for i := range 1000 {
		made, err := registry.Create(fmt.Sprint("shop ", i))
		if err != nil {
			b.Fatal(err)
		}
		id = made.App.ID
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok := registry.App(id); !ok {
				b.Fatal("not found")
			}
		}
	})
}
