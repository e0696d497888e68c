package redis

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// loadSlack is what a busy machine may add to the second in which a change is known.
const loadSlack = 5 * time.Second

func TestChangeOfAnotherMachineIsKnownWithinASecond(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*redisServer) string{
		"with notifications": func(s *redisServer) string { return s.url() },
		"without the right to publish and subscribe": func(s *redisServer) string {
			s.do("ACL", "SETUSER", "shop", "on", ">secret", "~rt:*", "+@all", "-publish", "-subscribe")
			return s.as("shop:secret")
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := startRedis(t)
			url := limit(server)
			a, b := newHolder(t, url), newHolder(t, url)
			one, _ := a.open()
			other, _ := b.open()
			if url == server.url() {
				server.subscribed(2)
			} else {
				b.logged("redis refuses a subscription")
			}
			id := create(t, one, "shop").App.ID
			took := knows(t, other, id, "shop")
			rename(t, one, id, "store")
			took = max(took, knows(t, other, id, "store"))
			if err := one.Delete(id); err != nil {
				t.Fatal(err)
			}
			if took = max(took, knows(t, other, id, "")); took > time.Second+loadSlack {
				t.Errorf("it took %s", took)
			}
			if url != server.url() {
				a.logged("redis does not publish changes")
			}
			for _, entry := range append(a.logs.All(), b.logs.All()...) {
				for _, value := range entry.ContextMap() {
					if text, ok := value.(string); ok && strings.Contains(text, "secret") {
						t.Errorf("logged: %s: %s", entry.Message, text)
					}
				}
			}
		})
	}
}

func TestCommandThatWasRenamedIsNoHindrance(t *testing.T) {
	t.Parallel()
	server := startRedis(t, "--rename-command", "PUBLISH", "")
	one, _ := newHolder(t, server.url()).open()
	other, _ := newHolder(t, server.url()).open()
	knows(t, other, create(t, one, "shop").App.ID, "shop")
}

// changed watches for the first notice of an app, or of all.
func (m *holder) watch() (*store, chan string) {
	m.t.Helper()
	opened, err := m.Open(m.log)
	if err != nil {
		m.t.Fatal(err)
	}
	s := opened.(*store)
	changed := make(chan string, 1000)
	s.Watch(func(id string) { changed <- id })
	m.t.Cleanup(func() { _ = s.Close() })
	if _, err := s.Load(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	return s, changed
}

// A notification names the app, so that the others need not load all of them.
func TestNotificationNamesTheApp(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	_, changed := newHolder(t, server.url()).watch()
	server.subscribed(1)
	one, _ := newHolder(t, server.url()).open()
	const attempts = 10 // the poll of a busy machine can be faster than a notification
	for range attempts {
		id := create(t, one, "shop").App.ID
		for got := <-changed; got != id; got = <-changed {
			if got != "" {
				t.Errorf("%q has changed, want %s", got, id)
			}
		}
		select {
		case <-changed:
		case <-time.After(pollInterval + 2*grace):
			return
		}
	}
	t.Error("after each change, all apps are loaded")
}

func TestLostSubscriptionIsMadeAgain(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	_, changed := newHolder(t, server.url()).watch()
	one, _ := newHolder(t, server.url()).open()
	server.subscribed(2)
	for range 3 {
		if n, err := server.do("CLIENT", "KILL", "TYPE", "pubsub").AsInt64(); err != nil || n != 2 {
			t.Fatalf("%d connections were killed, %v", n, err)
		}
		if got := <-changed; got != "" { // what happened in the meantime is unknown
			t.Errorf("%q has changed", got)
		}
		server.subscribed(2)
		id := create(t, one, "shop").App.ID
		for got := <-changed; got != id; got = <-changed {
			if got != "" { // which a busy machine's poll adds
				t.Errorf("%q has changed, want %s", got, id)
			}
		}
	}
}

// The poll finds a change whose notification nobody received.
func TestChangeDuringALostSubscriptionIsKnown(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	one, _ := newHolder(t, server.url()).open()
	other, _ := newHolder(t, server.url()).open()
	server.subscribed(2)
	for range 5 {
		server.do("CLIENT", "KILL", "TYPE", "pubsub")
		if took := knows(t, other, create(t, one, "shop").App.ID, "shop"); took > time.Second+loadSlack {
			t.Errorf("it took %s", took)
		}
	}
}

// A subscription can be silent without being broken, for example at a server that was
// replaced in a failover.
func TestSilentSubscriptionIsReplaced(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	s, changed := newHolder(t, server.url()).watch()
	server.subscribed(1)
	before, err := server.do("CLIENT", "LIST", "TYPE", "pubsub").ToString()
	if err != nil {
		t.Fatal(err)
	}
	server.do("SET", s.names.version, "5") // a change that is not announced
	if got := <-changed; got != "" {
		t.Errorf("%q has changed", got)
	}
	until(t, "another connection is subscribed", func() bool {
		now, err := server.do("CLIENT", "LIST", "TYPE", "pubsub").ToString()
		return err == nil && now != "" && strings.Fields(now)[0] != strings.Fields(before)[0]
	})
}

func TestChangeOfAMachineThatCrashedIsEnded(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	one, _ := newHolder(t, server.url()).open()
	other, s := newHolder(t, server.url()).open()
	server.subscribed(2)
	kept, gone := create(t, one, "shop").App.ID, create(t, one, "gone").App.ID
	knows(t, other, gone, "gone")
	// What a machine that is killed before the last step leaves.
	record, err := keystore.Encode(&keystore.App{ID: kept, Name: "changed"})
	if err != nil {
		t.Fatal(err)
	}
	server.do("ZADD", s.names.index, "7", kept, "8", gone, "9", "app_never")
	server.do("ZADD", s.names.pending, "1", "7 "+kept, "2", "8 "+gone, "3", "9 app_never")
	server.do("SET", s.names.app(kept), string(record))
	server.do("DEL", s.names.app(gone))
	for _, r := range []*keystore.Registry{one, other} {
		knows(t, r, kept, "changed")
		knows(t, r, gone, "")
	}
	until(t, "the index is repaired", func() bool {
		ids, err := server.do("ZRANGE", s.names.index, "0", "-1").AsStrSlice()
		pending, pendingErr := server.do("EXISTS", s.names.pending).AsInt64()
		return err == nil && pendingErr == nil && pending == 0 && len(ids) == 1 && ids[0] == kept
	})
}

// A slow deletion must not take an app out of the index that was put again since.
func TestDeletionLeavesALaterAppInTheIndex(t *testing.T) {
	server := startRedis(t)
	_, s := newHolder(t, server.url()).open()
	app := &keystore.App{ID: "app_a", Name: "a"}
	number, err := s.begin(t.Context(), app.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), nil, app); err != nil {
		t.Fatal(err)
	}
	if err := s.end(t.Context(), run, app.ID, number, true, true); err != nil {
		t.Fatal(err)
	}
	if apps, err := s.Load(t.Context()); err != nil || len(apps) != 1 {
		t.Errorf("%d apps, %v", len(apps), err)
	}
}

func TestRestartOfRedisIsSurvived(t *testing.T) {
	t.Parallel()
	server := startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	m := newHolder(t, server.url())
	one, s := m.open()
	other, _ := newHolder(t, server.url()).open()
	id := create(t, one, "shop").App.ID
	knows(t, other, id, "shop")
	server.kill()
	_, err := one.Create("store")
	wantError(t, err, "redis at 127.0.0.1:", "cannot be reached", "check that it runs")
	wantError(t, s.Check(t.Context()), "cannot be reached")
	if _, ok := one.App(id); !ok {
		t.Error("the known app is gone")
	}
	m.logged("redis is away")
	server.start()
	m.logged("redis is back")
	rename(t, one, id, "store")
	knows(t, other, id, "store")
}

func TestServerThatHangsIsAnErrorInTime(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	m := newHolder(t, server.url())
	one, s := m.open()
	other, _ := newHolder(t, server.url()).open()
	id := create(t, one, "shop").App.ID
	knows(t, other, id, "shop")
	server.signal(syscall.SIGSTOP)
	begin := time.Now()
	_, err := one.Update(id, func(a *keystore.App) error { a.Name = "doubtful"; return nil })
	wantError(t, err, "does not answer")
	if took := time.Since(begin); took < callTimeout/2 || took > callTimeout+loadSlack {
		t.Errorf("it took %s", took)
	}
	wantError(t, s.Check(t.Context()), "does not answer")
	m.logged("redis is away")
	server.signal(syscall.SIGCONT)
	m.logged("redis is back")
	rename(t, one, id, "store")
	knows(t, other, id, "store")
}

func TestServerThatLostItsDataEmptiesNoGateway(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	m := newHolder(t, server.url())
	registry, s := m.open()
	made := create(t, registry, "shop")
	until(t, "the copy has the app", func() bool { return strings.Contains(m.copyText(), made.App.ID) })
	server.do("FLUSHALL")
	m.logged("the keystore cannot be used")
	wantError(t, s.Check(t.Context()), "has lost the keystore", m.Copy)
	err := registry.Delete(made.App.ID)
	wantError(t, err, "has lost the keystore")
	if _, ok := registry.App(made.App.ID); !ok {
		t.Error("the app is gone")
	}
	if !strings.Contains(m.copyText(), made.App.ID) {
		t.Error("the copy is emptied")
	}
	_, _, err = m.tryOpen()
	wantError(t, err, "has lost the keystore", "remove the copy")
	if err := registry.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(m.Copy); err != nil {
		t.Fatal(err)
	}
	if registry, _ = m.open(); count(registry) != 0 {
		t.Errorf("%d apps", count(registry))
	}
}

func TestAppIsKeptThatIsChangedWhileTheLossOfItsDataIsNotKnownYet(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	m := newHolder(t, server.url())
	registry, s := m.open()
	id := create(t, registry, "shop").App.ID
	until(t, "the copy has the app", func() bool { return strings.Contains(m.copyText(), id) })
	server.do("FLUSHALL")
	_, err := s.Get(t.Context(), id)
	wantError(t, err, "has lost the keystore")
	_, err = registry.Update(id, func(a *keystore.App) error { a.Name = "store"; return nil })
	wantError(t, err, "has lost the keystore")
	m.logged("the keystore cannot be used")
	if err := registry.Close(); err != nil { // after what it had to look up
		t.Fatal(err)
	}
	if _, ok := registry.App(id); !ok || !strings.Contains(m.copyText(), id) {
		t.Error("the app is gone")
	}
}

// A failover loses what was not replicated: every machine then has what Redis has.
func TestServerThatLostChangesIsFollowed(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	m := newHolder(t, server.url())
	registry, s := m.open()
	id := create(t, registry, "shop").App.ID
	record, err := server.do("GET", s.names.app(id)).ToString()
	if err != nil {
		t.Fatal(err)
	}
	rename(t, registry, id, "store")
	server.do("SET", s.names.app(id), record)
	server.do("DECR", s.names.version)
	knows(t, registry, id, "shop")
	m.logged("redis has lost changes")
}
