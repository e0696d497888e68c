package redis

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// A durable is a machine that answers once a replica has what it has written.
func durable(t testing.TB, url string) (*machine, *holder) {
	t.Helper()
	keeper := newHolder(t, url)
	keeper.Durability = "replica"
	keeper.provision()
	return joinServer(t, Server{URL: url, Durability: "replica"}), keeper
}

// mayWait gives the user of the documents the right that durability needs in addition.
func mayWait(t testing.TB, servers ...*redisServer) {
	t.Helper()
	for _, s := range servers {
		if err := s.do("ACL", "SETUSER", "realtime", "+wait").Error(); err != nil {
			t.Fatal(err)
		}
	}
}

// wantUnconfirmed checks the error of a write that no replica has.
func wantUnconfirmed(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, errUnconfirmed) || !strings.Contains(err.Error(), "INFO replication") {
		t.Errorf("%v, not that no replica has it", err)
	}
}

func TestDurableWriteIsAnsweredWhenAReplicaHasIt(t *testing.T) {
	t.Parallel()
	primary := startRedis(t)
	replica := primary.replica()
	mayWait(t, primary)
	one, keeper := durable(t, primary.url())
	other, _ := durable(t, primary.url())
	registry, _ := keeper.open()
	one.subscribe("app", "a")
	terms := hub.Terms{Key: hub.IdempotencyKey{Value: "k"}}
	publish := func(m *machine) (hub.Outcome, error) {
		return m.Admit(t.Context(), []*hub.Message{message("app", "a", "once")}, terms)
	}
	one.publish(message("app", "a", "first"))
	create(t, registry, "shop")

	replica.signal(syscall.SIGSTOP)
	_, err := publish(one)
	wantUnconfirmed(t, err)
	_, err = publish(other) // it has written nothing else
	wantUnconfirmed(t, err)
	_, err = registry.Create("store")
	wantUnconfirmed(t, err)
	until(t, "it is delivered all the same", func() bool { return len(one.delivered("app")) == 2 })

	replica.signal(syscall.SIGCONT)
	until(t, "the repetition is answered", func() bool {
		o, err := publish(other)
		return err == nil && o.Replayed
	})
	if n := len(one.delivered("app")); n != 2 {
		t.Errorf("%d messages, not 2", n)
	}
}

func TestChangeThatNoReplicaHasIsKnownToAllGateways(t *testing.T) {
	t.Parallel()
	primary := startRedis(t)
	replica := primary.replica()
	mayWait(t, primary)
	registries := make([]*keystore.Registry, 2)
	for i := range registries {
		m := newHolder(t, primary.url())
		m.Durability = "replica"
		m.provision()
		registries[i], _ = m.open()
	}
	one, other := registries[0], registries[1]
	kept, doomed := create(t, one, "kept").App, create(t, one, "doomed").App
	knows(t, other, doomed.ID, "doomed")

	replica.signal(syscall.SIGSTOP)
	defer replica.signal(syscall.SIGCONT)
	_, err := one.RevokeKey(kept.ID, kept.Keys[0].ID)
	wantUnconfirmed(t, err)
	wantUnconfirmed(t, one.Delete(doomed.ID))
	if n, err := primary.do("ZCARD", "rt:{apps}:pending").AsInt64(); n != 0 || err != nil {
		t.Errorf("%d changes are pending, %v", n, err)
	}
	until(t, "the other gateway knows of both", func() bool {
		_, found := other.App(doomed.ID)
		app, _ := other.App(kept.ID)
		return !found && !app.Key(kept.Keys[0].ID).Revoked.IsZero()
	})
}

func TestFailoverLosesNothingThatADurableMachineHasAnswered(t *testing.T) {
	t.Parallel()
	w := startSentinel(t)
	mayWait(t, w.primary, w.replica)
	m, keeper := durable(t, w.url)
	registry, _ := keeper.open()
	m.subscribe("app", "a")
	answered := message("app", "a", "answered")
	m.publish(answered)
	create(t, registry, "answered")
	w.detach(t)
	wantUnconfirmed(t, m.Publish(t.Context(), []*hub.Message{message("app", "a", "lost")}))
	_, err := registry.Create("lost")
	wantUnconfirmed(t, err)
	w.primary.kill()
	w.failedOver(t)
	w.replica.replica() // without one, nothing is answered
	m.publishUntilAccepted(new(ledger), "app", "a", "after")
	stream := m.app("app").base + "s:" + answered.Epoch + ":a"
	if n, err := w.replica.do("XLEN", stream).AsInt64(); err != nil || n != 1 {
		t.Errorf("%d messages of the epoch before are left, not 1: %v", n, err)
	}
	until(t, "only the app that was answered is there", func() bool {
		all, _ := registry.Apps("", 10)
		return len(all) == 1 && all[0].Name == "answered"
	})
}

func TestDurabilityNeedsTheRightToWait(t *testing.T) {
	s := startRedis(t)
	m := newHolder(t, s.url())
	m.Durability = "replica"
	m.provision()
	if _, _, err := m.tryOpen(); err == nil || !strings.Contains(err.Error(), "may not run WAIT") || !strings.Contains(err.Error(), "+wait") {
		t.Error(err)
	}
}
