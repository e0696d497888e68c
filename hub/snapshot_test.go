package hub_test

import (
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// A rule that keeps messages for less time came in between.
func TestRestoredMessageIsNotMissingBetweenOlderOnes(t *testing.T) {
	before := newHub(t)
	for _, age := range []time.Duration{time.Hour, time.Second, time.Hour} {
		m := hub.Message{App: "app", Channel: "a", Event: "e", Keep: hub.Keep{Messages: 10, Age: age}}
		if _, err := before.Publish(background, m); err != nil {
			t.Fatal(err)
		}
	}
	after := newHub(t)
	if n, _ := after.Restore(before.Snapshot(), time.Minute, func(string) bool { return true }); n != 3 {
		t.Errorf("%d messages", n)
	}
	if err := after.Snapshot().Check(); err != nil {
		t.Errorf("the next process refuses all: %v", err)
	}
}
