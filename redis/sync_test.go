package redis

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

func TestSyncReturnsOnceWhatWasPublishedIsDelivered(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	for name, c := range map[string]struct{ cut, back func(*proxy) }{
		"late":         {(*proxy).suspend, (*proxy).resume},
		"cut":          {func(p *proxy) { p.lead(s) }, func(*proxy) {}},
		"late-and-cut": {(*proxy).suspend, func(p *proxy) { p.lead(s); p.resume() }},
	} {
		t.Run(name, func(t *testing.T) {
			p := s.through(0)
			behind, publisher := join(t, p.url(), name), s.join(name)
			behind.subscribe("app", "a")
			var l ledger
			var last hub.Position
			publish := func(channel, event string) {
				sent := message("app", channel, event)
				sent.Keep = kept
				publisher.publish(sent)
				if channel == "a" {
					l.add(sent)
				}
				last = sent.Position
			}
			publish("a", "first")
			l.expect(behind, "app", "a")
			c.cut(p)
			for i := range 100 {
				publish("a", fmt.Sprint(i))
				publish("b", "nobody here is interested")
			}
			synced := make(chan error, 1)
			go func() { synced <- behind.Sync(t.Context(), "app") }()
			c.back(p)
			if err := <-synced; err != nil {
				t.Fatal(err)
			}
			if n := behind.missing("app", l.of("a")); n != 0 {
				t.Errorf("%d messages are not delivered", n)
			}
			behind.mu.Lock()
			defer behind.mu.Unlock()
			if at := behind.stands["app"]; at != last {
				t.Errorf("it stands at %v, not at %v", at, last)
			}
		})
	}
}

func TestSyncFollowsAnEpochThatIsNewToThisMachine(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	p := s.through(0)
	behind, publisher := join(t, p.url(), ""), s.join("")
	behind.subscribe("app", "a")
	publisher.publish(message("app", "a", "first"))
	until(t, "it arrives", func() bool { return len(behind.delivered("app")) == 1 })
	p.suspend()
	s.do("FLUSHALL")
	sent := message("app", "a", "second")
	publisher.publish(sent)
	synced := make(chan error, 1)
	go func() { synced <- behind.Sync(t.Context(), "app") }()
	p.resume()
	if err := <-synced; err != nil {
		t.Fatal(err)
	}
	if at := behind.stands["app"]; at != sent.Position || len(behind.moved) != 1 {
		t.Errorf("it stands at %v, not at %v; moved to %v", at, sent.Position, behind.moved)
	}
}

func TestSyncWithoutRedisIsAnError(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	p := s.through(0)
	m := join(t, p.url(), "")
	m.subscribe("app", "a")
	p.suspend()
	began := time.Now()
	if err := m.Sync(t.Context(), "app"); err == nil {
		t.Error("it knows where the app stands")
	} else if d := time.Since(began); d > 2*requestTimeout {
		t.Errorf("it took %v", d)
	}
}
