package stress

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// F1, F3 and F4 of the notes on other servers: what comes in the same packet
// as the handshake's last byte killed the process, or was lost.
func TestBytesBehindTheHandshakeAreReadAndHarmless(t *testing.T) {
	t.Parallel()
	g := start(t, "connect_timeout 2s")
	a := g.newApp()
	before := g.usage()
	auth := fmt.Sprintf(`40{"appId":%q,"subscribeKey":%q}`, a.ID, a.SubscribeKey)
	garbage := make([]byte, 40)
	for i := range garbage {
		garbage[i] = byte(rand.IntN(256))
	}
	early := [][]byte{
		client.TextFrame("3"),
		{0x89, 0x80, 1, 2, 3, 4}, // a websocket ping
		client.TextFrame(auth),
		garbage,
		client.TextFrame("2"),
	}
	each(t, sized(1_000, 10_000), 32, func(i int) error {
		kind := i % len(early)
		socket, err := client.DialWebSocket(g.Addr, "/socket.io/?EIO=4&transport=websocket", early[kind])
		if err != nil {
			return err
		}
		defer socket.Reset()
		if _, err := socket.Read(); err != nil {
			return fmt.Errorf("no OPEN: %w", err)
		}
		if kind == 2 {
			answer, err := socket.Read()
			if err != nil || !strings.HasPrefix(answer, "40{") {
				return fmt.Errorf("the CONNECT behind the handshake: %q, %w", answer, err)
			}
		}
		return nil
	})
	g.settled(before)
	if n := g.connections(a); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestConnectAndDropLeavesNothing(t *testing.T) {
	t.Parallel()
	g := start(t, "connect_timeout 2s")
	before := g.usage()
	request := client.HandshakeRequest(g.Addr, "/socket.io/?EIO=4&transport=websocket")
	each(t, sized(4_000, 40_000), 32, func(i int) error {
		conn, err := net.Dial("tcp", g.Addr)
		if err != nil {
			return err
		}
		// An RST keeps the client's ports from running out, and is the ruder
		// end for the server.
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
			return err
		}
		switch i % 4 {
		case 0: // before the request
		case 1:
			_, err = conn.Write([]byte(request[:len(request)/2]))
		case 2:
			_, err = conn.Write([]byte(request))
		case 3:
			if _, err = conn.Write([]byte(request)); err == nil {
				_, err = conn.Read(make([]byte, 512))
			}
		}
		if err != nil {
			return err
		}
		return conn.Close()
	})
	g.settled(before)
}

func TestSubscribersThatLeaveInEveryWayLeaveNothing(t *testing.T) {
	t.Parallel()
	// One that polled and goes without a word is missed at the next heartbeat.
	g := start(t, "ping_interval 2s\n		ping_timeout 8s")
	a := g.newApp()
	channels := []string{"a", "b", "c"}
	transports := []client.Transport{client.OverWebSocket, client.OverWebSocket, client.OverWebSocket, client.OverPolling, client.Upgraded}
	var before usage
	for round := range sized(3, 6) {
		each(t, sized(300, 2_000), 64, func(i int) error {
			c, err := client.Dial(client.Config{Addr: g.Addr, Transport: transports[i%5], AppID: a.ID, Key: a.SubscribeKey})
			if err != nil {
				return err
			}
			if err := c.Subscribe(channels[i%3]); err != nil {
				return err
			}
			if i%7 == 0 {
				if _, err := g.publish(a, channels[i%3], "1"); err != nil {
					return err
				}
			}
			return leave(c, i/5)
		})
		g.await("no connections", 40*time.Second, func() bool { return g.connections(a) == 0 })
		for _, channel := range channels {
			if n, err := g.publish(a, channel, "0"); n != 0 || err != nil {
				t.Fatalf("channel %s has %d subscribers left, %v", channel, n, err)
			}
		}
		if round == 0 {
			before = g.usage() // after a round, when pools and buffers have grown
		}
	}
	g.settled(before)
}

// leave ends a client in one of the ways that there are.
func leave(c *client.Client, way int) error {
	socket, isSocket := c.Conn().(*client.WebSocket)
	switch {
	case way%5 == 0: // Socket.IO's, then Engine.IO's
		_ = c.Write("41") // which may end the connection before it is answered
		_ = c.Write("1")
	case way%5 == 1:
		_ = c.Write("1")
	case way%5 == 2 && isSocket:
		_ = socket.Reset()
	case way%5 == 3 && isSocket:
		_ = socket.CloseFrame()
	case way%5 == 4: // DISCONNECT and gone at once
		_ = c.Write("41")
	}
	return ignoreClosed(c.Close())
}

func TestThousandsOpenAtOnceAreAllSubscribed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		transport client.Transport
		clients   int
	}{
		{client.OverWebSocket, sized(1_000, 5_000)},
		{client.OverPolling, sized(250, 500)},
		{client.Upgraded, sized(250, 500)},
	} {
		t.Run(string(tc.transport), func(t *testing.T) {
			g := start(t, "")
			a := g.newApp()
			var subscribed, delivered atomic.Int64
			clients := make([]*client.Client, tc.clients)
			begin := time.Now()
			each(t, tc.clients, 64, func(i int) error {
				c, err := client.Dial(client.Config{
					Addr: g.Addr, Transport: tc.transport, AppID: a.ID, Key: a.SubscribeKey,
					OnPacket: func(packet string) {
						switch {
						case strings.HasPrefix(packet, `2["subscribed"`):
							subscribed.Add(1)
						case strings.HasPrefix(packet, `2["e"`):
							delivered.Add(1)
						}
					},
				})
				if err != nil {
					return err
				}
				clients[i] = c
				return c.Subscribe("all")
			})
			g.await("all are subscribed", 15*time.Second, func() bool { return subscribed.Load() == int64(tc.clients) })
			took := time.Since(begin)
			t.Logf("%d subscribed after %s", tc.clients, took)
			if took > 15*time.Second {
				t.Errorf("%d took %s, more than 15s", tc.clients, took)
			}
			if n, err := g.publish(a, "all", "1"); n != tc.clients || err != nil {
				t.Errorf("published to %d of %d, %v", n, tc.clients, err)
			}
			g.await("all get the event", 15*time.Second, func() bool { return delivered.Load() == int64(tc.clients) })
			each(t, tc.clients, 64, func(i int) error { return ignoreClosed(clients[i].Close()) })
		})
	}
}

func TestNothingIsLeftAfterManyRounds(t *testing.T) {
	t.Parallel()
	g := start(t, "")
	a := g.newApp()
	var before usage
	for round := range sized(6, 41) {
		if round == 1 {
			before = g.usage()
		}
		clients := make([]*client.Client, 200)
		each(t, 200, 32, func(i int) (err error) {
			clients[i], err = client.Dial(client.Config{Addr: g.Addr, Transport: client.OverWebSocket, AppID: a.ID, Key: a.SubscribeKey})
			return err
		})
		if n := g.connections(a); n != 200 {
			t.Fatalf("round %d: %d connections, want 200", round, n)
		}
		each(t, 200, 32, func(i int) error { return ignoreClosed(clients[i].Close()) })
		g.await("no connections", 10*time.Second, func() bool { return g.connections(a) == 0 })
	}
	g.settled(before)
}

func TestEventsStayInTheirApp(t *testing.T) {
	t.Parallel()
	g := start(t, "")
	channels := []string{"orders", "orders.42", "a:b/c"}
	var mu sync.Mutex
	got := make(map[string][]string)
	want := make(map[string][]string)
	apps := make([]app, 100)
	each(t, len(apps), 4, func(i int) error {
		apps[i] = g.newApp()
		c, err := client.Dial(client.Config{
			Addr: g.Addr, Transport: client.OverWebSocket, AppID: apps[i].ID, Key: apps[i].SubscribeKey,
			OnPacket: func(packet string) {
				if strings.HasPrefix(packet, `2["e","app_`) {
					mu.Lock()
					got[apps[i].ID] = append(got[apps[i].ID], packet)
					mu.Unlock()
				}
			},
		})
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = c.Close() })
		for _, channel := range channels {
			if err := c.Subscribe(channel); err != nil {
				return err
			}
			g.await("subscribed", 10*time.Second, func() bool { n, err := g.publish(apps[i], channel, "0"); return n == 1 && err == nil })
		}
		return nil
	})
	published := 0
	for i := range sized(1_000, 10_000) {
		a := apps[rand.IntN(len(apps))]
		data, _ := json.Marshal(fmt.Sprint(a.ID, i))
		if n, err := g.publish(a, channels[rand.IntN(len(channels))], string(data)); n != 1 || err != nil {
			t.Fatalf("%d subscribers, %v", n, err)
		}
		want[a.ID] = append(want[a.ID], `2["e",`+string(data)+`]`)
		published++
	}
	g.await("every event has arrived", 10*time.Second, func() bool {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for _, packets := range got {
			n += len(packets)
		}
		return n >= published
	})
	for _, a := range apps {
		if fmt.Sprint(got[a.ID]) != fmt.Sprint(want[a.ID]) {
			t.Errorf("%s got %v, want %v", a.ID, got[a.ID], want[a.ID])
		}
	}
}

// ignoreClosed is for closing what may be closed already.
func ignoreClosed(err error) error {
	if err != nil && strings.Contains(err.Error(), "use of closed network connection") {
		return nil
	}
	return err
}
