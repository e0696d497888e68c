package realtime

import (
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// Caddy opens the listeners of a configuration before or after it starts this app, and
// closes them again if another app fails.
func TestPollsAreHeldFromWhenAConfigurationIsExpectedUntilThereIsOneAgain(t *testing.T) {
	s := newSite(t, nil)
	made := s.newApp()
	c := s.dial(client.OverPolling, made.App.ID, made.SubscribeKey)
	c.emit(`["subscribe","a"]`)
	c.want(`2["subscribed",{"channel":"a"}]`)
	next := func() *App {
		a := *s.handler.app
		a.hold = new(engineio.Hold)
		return &a
	}
	held := func(event string, release func()) {
		t.Helper()
		if _, err := s.publish(made.App, message.Publication{Channel: "a", Event: event}); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-c.packets:
			t.Errorf("the answer was not held: %s", got)
		case <-time.After(2 * closeTime):
		}
		release()
		c.want(`2["` + event + `"]`)
	}
	failing := next()
	s.expect(failing)
	held("failing", func() { s.forget(failing) })
	working := next()
	s.expect(working)
	s.start(working)
	// Polls are still at the previous configuration's server, whose hold lasts as
	// long as it runs.
	held("working", func() { close(s.handler.ending) })
}
