package redis

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// A holder is a gateway's keystore module, with its own copy on disk.
type holder struct {
	Keystore
	t    testing.TB
	logs *observer.ObservedLogs
	log  *zap.Logger
}

func newHolder(t testing.TB, url string) *holder {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	m := &holder{Keystore{Server: Server{URL: url}, Copy: filepath.Join(t.TempDir(), "copy.json")}, t, logs, zap.New(core)}
	m.provision()
	return m
}

func (m *holder) provision() {
	m.t.Helper()
	if err := m.Provision(caddy.Context{}); err != nil {
		m.t.Fatal(err)
	}
}

// tryOpen opens the registry.
func (m *holder) tryOpen() (*keystore.Registry, *store, error) {
	opened, err := m.Open(m.log)
	if err != nil {
		return nil, nil, err
	}
	registry, err := keystore.Open(opened)
	if err != nil {
		return nil, nil, err
	}
	m.t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			m.t.Error(err)
		}
	})
	return registry, opened.(*store), nil
}

func (m *holder) open() (*keystore.Registry, *store) {
	m.t.Helper()
	registry, s, err := m.tryOpen()
	if err != nil {
		m.t.Fatal(err)
	}
	return registry, s
}

// logged waits for a message.
func (m *holder) logged(message string) {
	m.t.Helper()
	until(m.t, "it is logged: "+message, func() bool {
		for _, entry := range m.logs.All() {
			if strings.Contains(entry.Message, message) {
				return true
			}
		}
		return false
	})
}

func create(t testing.TB, r *keystore.Registry, name string) keystore.Created {
	t.Helper()
	made, err := r.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func count(r *keystore.Registry) int {
	apps, _ := r.Apps("", 1<<20)
	return len(apps)
}

func rename(t testing.TB, r *keystore.Registry, id, name string) {
	t.Helper()
	if _, err := r.Update(id, func(a *keystore.App) error { a.Name = name; return nil }); err != nil {
		t.Fatal(err)
	}
}

// knows waits until a registry has an app of that name; "" waits until it has no app of
// that id. It returns how long that took.
func knows(t testing.TB, r *keystore.Registry, id, name string) time.Duration {
	t.Helper()
	begin := time.Now()
	until(t, fmt.Sprintf("%s is known as %q", id, name), func() bool {
		app, ok := r.App(id)
		return ok == (name != "") && (!ok || app.Name == name)
	})
	return time.Since(begin)
}

// subscribed waits until n stores receive notifications.
func (s *redisServer) subscribed(n int) {
	s.t.Helper()
	until(s.t, fmt.Sprintf("%d subscriptions", n), func() bool {
		answer, err := s.do("PUBSUB", "NUMSUB", "rt:apps:changed").AsIntMap()
		return err == nil && answer["rt:apps:changed"] == int64(n)
	})
}

// wantError fails unless an error has all of these words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", words)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q lacks %q", err, word)
		}
	}
}

func TestAppsSurviveARestartOfEverything(t *testing.T) {
	server := startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	m := newHolder(t, server.url())
	registry, _ := m.open()
	var apps []keystore.Created
	for i := range 3 {
		apps = append(apps, create(t, registry, fmt.Sprint("shop ", i)))
	}
	rename(t, registry, apps[0].App.ID, "renamed")
	if err := registry.Delete(apps[1].App.ID); err != nil {
		t.Fatal(err)
	}
	key := apps[2].App.Keys[0]
	registry.Used(apps[2].App, &key, time.Now())
	used := registry.LastUsed(key.ID)
	if err := registry.Close(); err != nil {
		t.Fatal(err)
	}
	server.kill()
	server.start()
	registry, _ = newHolder(t, server.url()).open()
	if n := count(registry); n != 2 {
		t.Errorf("%d apps, want 2", n)
	}
	knows(t, registry, apps[0].App.ID, "renamed")
	again, _ := registry.App(apps[2].App.ID)
	if _, err := again.Check(keystore.Publish, apps[2].PublishKey, time.Now()); err != nil {
		t.Error(err)
	}
	if got := registry.LastUsed(key.ID); got != used || got.IsZero() {
		t.Errorf("last used %s, want %s", got, used)
	}
}

// A store must compare and set, whatever the registry does.
func TestPutAndDeleteCompare(t *testing.T) {
	server := startRedis(t)
	_, s := newHolder(t, server.url()).open()
	one, two := &keystore.App{ID: "app_a", Name: "one"}, &keystore.App{ID: "app_a", Name: "two"}
	for i, step := range []struct {
		err  error
		want error
	}{
		{s.Put(t.Context(), one, two), keystore.ErrConflict}, // there is none
		{s.Put(t.Context(), nil, one), nil},
		{s.Put(t.Context(), nil, two), keystore.ErrConflict},
		{s.Put(t.Context(), two, two), keystore.ErrConflict},
		{s.Delete(t.Context(), two), keystore.ErrConflict},
		{s.Put(t.Context(), one, two), nil},
		{s.PutUsed(t.Context(), "app_a", map[string]time.Time{"key_a": time.Now()}), nil},
		{s.Delete(t.Context(), two), nil},
		{s.Delete(t.Context(), two), nil}, // already gone
	} {
		if !errors.Is(step.err, step.want) {
			t.Errorf("step %d: %v, want %v", i, step.err, step.want)
		}
	}
	if app, err := s.Get(t.Context(), "app_a"); app != nil || err != nil {
		t.Errorf("%+v, %v", app, err)
	}
	keys, err := server.do("KEYS", "*").AsStrSlice()
	if err != nil || len(keys) != 2 { // begun, version
		t.Errorf("what is left: %q, %v", keys, err)
	}
}

func TestRecordThatAnotherVersionWroteCanBeChanged(t *testing.T) {
	server := startRedis(t)
	registry, _ := newHolder(t, server.url()).open()
	id := create(t, registry, "shop").App.ID
	record, err := server.do("GET", "rt:{"+id+"}:app").ToString()
	if err != nil {
		t.Fatal(err)
	}
	server.do("SET", "rt:{"+id+"}:app", strings.Replace(record, `{"v":1,`, `{ "v" : 1, "disabled":false,`, 1))
	rename(t, registry, id, "store")
	if err := registry.Delete(id); err != nil {
		t.Error(err)
	}
}

func TestLaterUseOfAKeyIsKept(t *testing.T) {
	server := startRedis(t)
	_, s := newHolder(t, server.url()).open()
	if err := s.Put(t.Context(), nil, &keystore.App{ID: "app_a", Name: "a"}); err != nil {
		t.Fatal(err)
	}
	early, late := time.UnixMicro(1e15).UTC(), time.UnixMicro(1e15+1).UTC()
	for _, used := range []map[string]time.Time{{"key_a": late, "key_b": early, "key_c": late}, {"key_a": early, "key_b": late}} {
		if err := s.PutUsed(t.Context(), "app_a", used); err != nil {
			t.Fatal(err)
		}
	}
	if used, err := s.LoadUsed(t.Context()); err != nil || len(used) != 2 || used["key_a"] != late || used["key_b"] != late {
		t.Errorf("%v, %v", used, err)
	}
}

func TestManyAppsAreLoaded(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	_, s := newHolder(t, server.url()).open()
	const apps = 2*batch + 1
	for i := range apps {
		if err := s.Put(t.Context(), nil, &keystore.App{ID: fmt.Sprint("app_", i), Name: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	if loaded, err := s.Load(t.Context()); err != nil || len(loaded) != apps {
		t.Errorf("%d apps, %v", len(loaded), err)
	}
}

func TestDamagedRecordIsNamed(t *testing.T) {
	server := startRedis(t)
	m := newHolder(t, server.url())
	registry, _ := m.open()
	id := create(t, registry, "shop").App.ID
	until(t, "the copy is written", func() bool { _, err := os.Stat(m.Copy); return err == nil })
	server.do("SET", "rt:{"+id+"}:app", "{}")
	_, _, err := m.tryOpen() // the copy does not hide it
	wantError(t, err, id, "damaged")
	server.do("DEL", "rt:{"+id+"}:app")
	server.do("LPUSH", "rt:{"+id+"}:app", "x")
	_, _, err = m.tryOpen()
	wantError(t, err, id, "another application")
}

func TestOtherKeysAndPrefixesAreLeftAlone(t *testing.T) {
	server := startRedis(t)
	server.do("SET", "rt:session", "theirs")
	server.do("SET", "apps", "theirs")
	one, other := newHolder(t, server.url()), newHolder(t, server.url())
	other.Prefix = "rt2"
	other.provision()
	third := newHolder(t, server.url()+"/3")
	a, _ := one.open()
	b, _ := other.open()
	c, _ := third.open()
	id := create(t, a, "one").App.ID
	create(t, b, "other")
	create(t, c, "third")
	for _, r := range []*keystore.Registry{a, b, c} {
		if count(r) != 1 {
			t.Errorf("%d apps, want 1", count(r))
		}
	}
	if err := a.Delete(id); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"rt:session", "apps"} {
		if text, err := server.do("GET", key).ToString(); text != "theirs" {
			t.Errorf("%s: %q, %v", key, text, err)
		}
	}
	if one.Identity() == other.Identity() || one.Identity() == third.Identity() {
		t.Errorf("%s, %s, %s", one.Identity(), other.Identity(), third.Identity())
	}
}

func TestNoChangeIsLostBetweenMachines(t *testing.T) {
	const machines, workers, changes = 3, 4, 10
	server := startRedis(t)
	var registries []*keystore.Registry
	for range machines {
		registry, _ := newHolder(t, server.url()).open()
		registries = append(registries, registry)
	}
	id := create(t, registries[0], "shop").App.ID
	var work sync.WaitGroup
	for _, r := range registries {
		knows(t, r, id, "shop")
		for range workers {
			work.Go(func() {
				for range changes {
					err := keystore.ErrConflict
					for errors.Is(err, keystore.ErrConflict) { // others were faster every time
						_, err = r.Update(id, func(a *keystore.App) error { a.MaxChannels++; return nil })
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	work.Wait()
	for _, r := range registries {
		until(t, "all changes are known", func() bool {
			app, _ := r.App(id)
			return app.MaxChannels == machines*workers*changes
		})
	}
}

func TestSettingsAreRead(t *testing.T) {
	t.Setenv("RT_COPY", "/tmp/c.json")
	k := Keystore{Server: Server{URL: "redis://u:hunter2@10.0.0.5"}, Copy: "{env.RT_COPY}"}
	if err := k.Provision(caddy.Context{}); err != nil || k.Copy != "/tmp/c.json" {
		t.Errorf("%+v, %v", k.Copy, err)
	}
	one, other := Keystore{Server: Server{URL: "redis://10.0.0.5"}}, Keystore{Server: Server{URL: "redis://10.0.0.6"}}
	if err := errors.Join(one.Provision(caddy.Context{}), other.Provision(caddy.Context{})); err != nil {
		t.Fatal(err)
	}
	if one.Copy == other.Copy || !strings.HasPrefix(filepath.Base(one.Copy), "realtime-redis-") {
		t.Errorf("%s, %s", one.Copy, other.Copy)
	}
}

func TestCaddyfileOfTheKeystore(t *testing.T) {
	const full = "redis redis://10.0.0.5:6379 {\n prefix shop\n durability replica\n copy /var/lib/caddy/shop.json\n}"
	var k Keystore
	if err := k.UnmarshalCaddyfile(caddyfile.NewTestDispenser(full)); err != nil || k.URL != "redis://10.0.0.5:6379" || k.Prefix != "shop" || k.Durability != "replica" || k.Copy != "/var/lib/caddy/shop.json" {
		t.Errorf("%+v, %v", k, err)
	}
	for text, want := range map[string]string{
		"redis":                                  "redis needs the URL",
		"redis redis://a redis://b":              "remove redis://b",
		"redis redis://a {\n prefix\n}":          "prefix takes one word",
		"redis redis://a {\n copy a b\n}":        "copy takes one word",
		"redis redis://a {\n copies a\n}":        "it takes, for example: prefix shop, durability replica, copy /var/lib/caddy/keystore.json",
		"redis redis://a {\n copy a\n copy b\n}": "duplicate copy",
	} {
		err := new(Keystore).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		wantError(t, err, want)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	server := startRedis(t)
	m := newHolder(t, server.url())
	registry, _ := m.open()
	server.subscribed(1)
	if err := registry.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "all connections are closed", func() bool {
		list, err := server.do("CLIENT", "LIST").ToString()
		return err == nil && !strings.Contains(list, "name=caddy-realtime")
	})
}

// Otherwise all apps are gone on a machine that starts, or once Redis was away.
func TestAppsWhoseListWasRemovedAreListedAgain(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	h := newHolder(t, s.url())
	registry, opened := h.open()
	id := create(t, registry, "shop").App.ID
	gone := create(t, registry, "gone").App.ID
	if err := registry.Delete(gone); err != nil {
		t.Fatal(err)
	}
	s.do("DEL", namesOf(&h.Server).index)
	if apps, err := opened.Load(t.Context()); err != nil || len(apps) != 1 || apps[0].ID != id {
		t.Errorf("%d apps, %v", len(apps), err)
	}
	h.logged("lost an app's entry")
	if listed, err := opened.ids(t.Context()); err != nil || len(listed) != 1 || listed[0] != id {
		t.Errorf("listed: %q, %v", listed, err)
	}
	s.do("DEL", namesOf(&h.Server).index)
	until(t, "the copy has the app", func() bool {
		kept, err := opened.copy.Load().read()
		return err == nil && kept != nil && len(kept.Apps) == 1
	})
	again, _ := h.open()
	if _, ok := again.App(id); !ok {
		t.Error("a machine that starts with its copy lacks the app")
	}
	fresh, _ := newHolder(t, s.url()).open()
	if _, ok := fresh.App(id); !ok {
		t.Error("a machine without a copy lacks the app")
	}
}

func TestUseOfAKeyOnAnotherMachineIsKnown(t *testing.T) {
	server := startRedis(t)
	registry, _ := newHolder(t, server.url()).open()
	made := create(t, registry, "shop")
	id, key := made.App.ID, made.App.Keys[0]
	other, _ := newHolder(t, server.url()).open()
	app, ok := other.App(id)
	if !ok {
		t.Fatal("the other machine does not know the app")
	}
	other.Used(app, &key, time.Now())
	used := other.LastUsed(key.ID)
	if err := other.Close(); err != nil { // stores it, as it does once a minute
		t.Fatal(err)
	}
	if used.IsZero() {
		t.Fatal("the other machine does not know of it either")
	}
	until(t, "it is known", func() bool {
		registry.RefreshUsed(t.Context(), made.App)
		return registry.LastUsed(key.ID).Equal(used)
	})

	// Without Redis, nobody waits for it twice, and what is known is shown.
	server.kill()
	for range 2 {
		registry.RefreshUsed(t.Context(), made.App)
	}
	if got := registry.LastUsed(key.ID); got != used {
		t.Errorf("last used %s without Redis, want %s", got, used)
	}
}
