package stress

import (
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// insist dials until the server has room, as stock clients do; also where this
// machine was too busy to send the credentials in time.
func insist(cfg client.Config, refused *atomic.Int64) (*client.Client, error) {
	for {
		c, err := client.Dial(cfg)
		switch {
		case err == nil:
			return c, nil
		case strings.Contains(err.Error(), "503"):
			refused.Add(1)
		case !strings.Contains(err.Error(), "closed by the server: 1000"):
			return nil, err
		}
		time.Sleep(50*time.Millisecond + rand.N(100*time.Millisecond)) // the stock client's back-off, shorter
	}
}

func TestClientsThatComeAllAtOnceAllGetIn(t *testing.T) {
	t.Parallel()
	const limit = 50
	n, atOnce := sized(800, 2000), sized(200, 500) // four times the limit, at least
	g := start(t, "max_connecting 50\n		connect_timeout 2s")
	a := g.newApp()
	before := g.usage()
	// All places are taken by clients that do not say who they are, of five
	// addresses: four have a quarter each.
	silent := make([]*client.WebSocket, limit)
	each(t, limit, 8, func(i int) error {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%5))}}
		conn, err := dialer.DialContext(t.Context(), "tcp", g.Addr)
		if err != nil {
			return err
		}
		silent[i], _, err = client.Handshake(conn, client.HandshakeRequest(g.Addr, "/socket.io/?EIO=4&transport=websocket"), nil)
		return err
	})
	if n := g.metric("connecting"); n != limit {
		t.Errorf("%v are connecting, want %d", n, limit)
	}
	var refused, subscribed atomic.Int64
	clients := make([]*client.Client, n)
	each(t, n, atOnce, func(i int) (err error) {
		clients[i], err = insist(client.Config{
			Addr: g.Addr, Transport: client.OverWebSocket, AppID: a.ID, Key: a.SubscribeKey,
			OnPacket: func(packet string) {
				if strings.HasPrefix(packet, `2["subscribed"`) {
					subscribed.Add(1)
				}
			},
		}, &refused)
		if err != nil {
			return err
		}
		return clients[i].Subscribe("c")
	})
	g.await("all are subscribed", 20*time.Second, func() bool { return subscribed.Load() == int64(n) })
	if got, err := g.publish(a, "c", "1"); got != n || err != nil {
		t.Errorf("published to %d, want %d; %v", got, n, err)
	}
	counted := g.metric("connecting_refused_total")
	t.Logf("%d were let in, after %.0f refusals", n, counted)
	if counted == 0 || int64(counted) != refused.Load() {
		t.Errorf("the counter says %v, the clients saw %d refusals", counted, refused.Load())
	}
	if g.logged("raise max_connecting") == 0 {
		t.Error("the log does not name the setting")
	}
	for _, socket := range silent {
		_ = socket.Close()
	}
	each(t, n, 64, func(i int) error { return ignoreClosed(clients[i].Close()) })
	g.settled(before)
}
