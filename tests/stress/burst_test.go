package stress

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// Publishers can be faster than the machine writes to everybody. They wait for
// it then, and no subscriber pays with its connection.
func TestBurstOfLargeMessagesCutsNobodyOff(t *testing.T) {
	t.Parallel()
	const subscribers, publishers = 300, 32
	events := sized(250, 2_000)
	g := start(t, "max_body 64KiB\n\t\tmax_queue 128KiB")
	a := g.newApp()
	var subscribed, received atomic.Int64
	clients := make([]*client.Client, subscribers)
	each(t, subscribers, 32, func(i int) (err error) {
		clients[i], err = client.Dial(client.Config{
			Addr: g.Addr, Transport: client.OverWebSocket, AppID: a.ID, Key: a.SubscribeKey, Head: 100,
			OnPacket: func(packet string) {
				switch {
				case strings.HasPrefix(packet, `2["e",`):
					received.Add(1)
				case strings.HasPrefix(packet, `2["subscribed"`):
					subscribed.Add(1)
				}
			},
		})
		if err != nil {
			return err
		}
		return clients[i].Subscribe("c")
	})
	g.await("all are subscribed", 15*time.Second, func() bool { return subscribed.Load() == subscribers })
	data := fmt.Sprintf("%q", strings.Repeat("x", 16<<10))
	each(t, events, publishers, func(int) error {
		_, err := g.publish(a, "c", data)
		return err
	})
	g.await("all have all", 30*time.Second, func() bool {
		return received.Load() == int64(subscribers*events) || g.connections(a) < subscribers
	})
	for i, c := range clients {
		if err := c.Err(); err != nil {
			t.Errorf("client %d was disconnected: %v", i, err)
		}
	}
	if n := g.metric(`cut_off_total{reason="queue_full"}`); n != 0 {
		t.Errorf("%v were cut off", n)
	}
	each(t, subscribers, 32, func(i int) error { return ignoreClosed(clients[i].Close()) })
}
