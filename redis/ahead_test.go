package redis

import (
	"fmt"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// A failover leaves such messages: this machine has received one, and not the one before it,
// and the server that takes over has neither. Whoever writes into Redis' channels can, too.
func TestMessagesThatRedisDoesNotKnowEndInANewEpoch(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	m := s.join("")
	m.subscribe("app", "a")
	first := message("app", "a", "first")
	m.publish(first)
	a := m.app("app")
	until(t, "the first message arrives", func() bool { return len(m.delivered("app")) == 1 })
	text := fmt.Sprintf("\x01%s 1000 999 1764300000000\n%s", first.Epoch, goldenBody)
	if err := s.do("SPUBLISH", a.pubsubName("a"), text).Error(); err != nil {
		t.Fatal(err)
	}
	until(t, "it is delivered", func() bool { return len(m.delivered("app")) == 2 })
	expectIdle(t, a)
	next := message("app", "a", "next")
	next.NoHistory = true // it is in no stream
	m.publish(next)
	until(t, "what is published then arrives", func() bool { return len(m.delivered("app")) == 3 })
	m.mu.Lock()
	defer m.mu.Unlock()
	if next.Epoch == first.Epoch || fmt.Sprint(m.lost) != "[a 999]" || len(m.moved) != 1 {
		t.Errorf("the epoch after %s is %s; lost %v, moved %v", first.Epoch, next.Epoch, m.lost, m.moved)
	}
}

func TestMessageOfAnEpochThatRedisDoesNotKnowIsDelivered(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	m := s.join("")
	m.subscribe("app", "a")
	m.publish(message("app", "a", "first"))
	until(t, "the first message arrives", func() bool { return len(m.delivered("app")) == 1 })
	a := m.app("app")
	text := "\x01" + hub.NewEpoch("app") + " 2 1 1764300000000\n" + goldenBody
	if err := s.do("SPUBLISH", a.pubsubName("a"), text).Error(); err != nil {
		t.Fatal(err)
	}
	m.publish(message("app", "a", "next"))
	until(t, "it arrives, and what is published then", func() bool { return len(m.delivered("app")) == 3 })
	expectIdle(t, a)
}

// expectIdle waits until the worker of an app has nothing to do.
func expectIdle(t *testing.T, a *app) {
	t.Helper()
	until(t, "the worker has nothing to do", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return !a.working && len(a.queue) == 0
	})
}
