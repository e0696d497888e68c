package stress

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// stall connects a subscriber that never reads again.
func (g *gateway) stall(a app, channel string) (*client.WebSocket, error) {
	conn, err := net.Dial("tcp", g.Addr)
	if err != nil {
		return nil, err
	}
	return g.stallOn(conn, a, channel)
}

// stallOn is stall on a connection, which it owns from then on.
func (g *gateway) stallOn(conn net.Conn, a app, channel string) (*client.WebSocket, error) {
	socket, _, err := client.Handshake(conn, client.HandshakeRequest(g.Addr, websocketPath), nil)
	if err != nil {
		return nil, err
	}
	auth := fmt.Sprintf(`40{"appId":%q,"subscribeKey":%q}`, a.ID, a.SubscribeKey)
	if err := socket.Write(auth, `42["subscribe","`+channel+`"]`); err != nil {
		return nil, err
	}
	for {
		packet, err := socket.Read()
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(packet, `42["subscribed"`) {
			return socket, nil
		}
	}
}

// logged is how often the log has a text.
func (g *gateway) logged(text string) int {
	g.t.Helper()
	log, err := os.ReadFile(g.log.Name())
	if err != nil {
		g.t.Fatal(err)
	}
	return bytes.Count(log, []byte(text))
}

func TestStalledSubscribersAreCutOffAndCostTheOthersNothing(t *testing.T) {
	t.Parallel()
	const stalled, events = 20, 300
	reading := sized(10, 50)
	g := start(t, "history 0")
	a := g.newApp()
	cfg := a.at(g.Addr)
	cfg.Head = 100
	crowd := g.joinAs(cfg, "c", append(repeat(client.OverWebSocket, reading-5), repeat(client.OverPolling, 5)...)...)
	before := g.usage()
	each(t, stalled, 8, func(int) error {
		socket, err := g.stall(a, "c")
		if err == nil {
			t.Cleanup(func() { _ = socket.Close() })
		}
		return err
	})
	// More than the kernel's buffers and max_queue hold, at a pace that those
	// who read keep up with.
	padding := `"` + strings.Repeat("x", 64<<10) + `"`
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var longest time.Duration
	for i := range events {
		<-tick.C
		begin := time.Now()
		if _, err := g.publish(a, "c", fmt.Sprintf("[%d,%s]", i+1, padding)); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(begin))
	}
	g.check(crowd, 1, events)
	g.await("the stalled are gone", 20*time.Second, func() bool { return g.connections(a) == reading })
	if n := g.metric(`cut_off_total{reason="queue_full"}`); n != stalled {
		t.Errorf("the counter says %v, want %d", n, stalled)
	}
	lines := g.logged("client cut off: its queue is full") // bounded, see docs/operating.md
	if lines == 0 || lines > stalled {
		t.Errorf("the log says it %d times of %d", lines, stalled)
	}
	if g.logged(`"client_ip":"127.0.0.1"`) < lines {
		t.Error("the log does not say who was cut off")
	}
	t.Logf("the longest publish took %s", longest)
	g.settled(before)
	crowd.close(t)
}

func TestSubscriberThatIsMerelySlowCatchesUp(t *testing.T) {
	t.Parallel()
	const events = 40
	g := start(t, "max_queue 16MiB\n\t\twrite_timeout 5m") // it reads when all is published
	a := g.newApp()
	socket, err := g.stall(a, "c")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	padding := `"` + strings.Repeat("x", 256<<10) + `"` // 10 MB in all: the kernel does not hold it
	for i := range events {
		if n, err := g.publish(a, "c", fmt.Sprintf("[%d,%s]", i+1, padding)); n != 1 || err != nil {
			t.Fatalf("published to %d, %v", n, err)
		}
	}
	var got account
	for last := 0; last < events; _, last, _ = got.state() {
		packet, err := socket.Read()
		if err != nil {
			t.Fatal(err)
		}
		got.take(strings.TrimPrefix(packet, "4"))
	}
	if first, last, bad := got.state(); first != 1 || last != events || bad != "" {
		t.Errorf("got %d to %d, want 1 to %d; %s", first, last, events, bad)
	}
}
