package stress

import (
	"strconv"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/relay"
)

func TestEventsComeInOrderThroughASlowNetwork(t *testing.T) {
	t.Parallel() // it mostly waits
	const events = 50
	for _, tc := range []struct {
		name     string
		up, down relay.Fault
	}{
		{"300 ms each way", relay.Fault{Delay: 300 * time.Millisecond}, relay.Fault{Delay: 300 * time.Millisecond}},
		// Requests, headers, bodies and frames come in single bytes.
		{"single bytes", relay.Fault{Piece: 1}, relay.Fault{Piece: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := start(t, "ping_interval 1s\n\t\tping_timeout 15s")
			a := g.newApp()
			before := g.usage()
			network := g.relay(tc.up, tc.down)
			defer network.Close()
			crowd := g.joinAs(a.at(network.Addr()), "c", mixed(2)...)
			begin := time.Now()
			for i := range events {
				if n, err := g.publish(a, "c", strconv.Itoa(i+1)); n != len(crowd.clients) || err != nil {
					t.Fatalf("published to %d, %v", n, err)
				}
			}
			g.check(crowd, 1, events)
			t.Logf("%d clients had %d events after %s", len(crowd.clients), events, time.Since(begin))
			g.await("two heartbeats of each", 20*time.Second, func() bool {
				for _, c := range crowd.clients {
					if c.Heartbeats() < 2 {
						return false
					}
				}
				return true
			})
			g.check(crowd, 1, events)
			crowd.lose(t)
			g.await("all are gone", 40*time.Second, func() bool { return g.connections(a) == 0 })
			g.settled(before)
		})
	}
}
