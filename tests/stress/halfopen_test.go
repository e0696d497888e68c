package stress

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
	"github.com/seed-c079cc48/caddy-realtime/tests/relay"
)

// A client whose network is gone sends no FIN: its connections stay half-open,
// and the kernel takes what is written to them.
func TestVanishedClientsAreGoneAfterAPingAndCostTheOthersNothing(t *testing.T) {
	t.Parallel()
	const interval, timeout, kind = 2 * time.Second, 5 * time.Second, 15
	g := startWith(t, func(g *gateway) string {
		// The connections that polls came over are Caddy's to close.
		config := g.caddyfile(fmt.Sprintf("ping_interval %s\n\t\tping_timeout %s", interval, timeout))
		return strings.Replace(config, "{\n", "{\n\tservers {\n\t\ttimeouts {\n\t\t\tidle 5s\n\t\t}\n\t}\n", 1)
	})
	a := g.newApp()
	near := g.join(a, "c", mixed(5)...)
	before := g.usage()

	network := g.relay(relay.Fault{}, relay.Fault{})
	far := g.joinAs(a.at(network.Addr()), "c", mixed(kind)...)
	for i := range kind { // in the middle of an upgrade, or of a frame
		socket, err := client.DialWebSocket(network.Addr(), "/socket.io/?EIO=4&transport=websocket&sid="+far.clients[kind+i].SID(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Reset()
		if i%3 == 0 { // not even probed
			continue
		}
		if err := socket.Write("2probe"); err != nil {
			t.Fatal(err)
		}
		if answer, err := socket.Read(); answer != "3probe" || err != nil {
			t.Fatalf("got %q, %v", answer, err)
		}
		if i%3 == 1 {
			continue
		}
		frame := client.TextFrame("4half of it")
		if err := far.clients[i].Conn().(*client.WebSocket).WriteRaw(frame[:len(frame)/2]); err != nil {
			t.Fatal(err)
		}
	}
	gone := 3 * kind
	if n := g.connections(a); n != gone+len(near.clients) {
		t.Fatalf("%d connections", n)
	}

	network.Vanish()
	begin, published := time.Now(), 0
	var longest time.Duration
	g.await("the vanished are gone", 3*(interval+timeout), func() bool {
		start := time.Now()
		published++
		if _, err := g.publish(a, "c", strconv.Itoa(published)); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(start))
		return g.connections(a) == len(near.clients)
	})
	took := time.Since(begin)
	t.Logf("%d clients were gone after %s; of %d publishes meanwhile the longest took %s", gone, took, published, longest)
	if limit := interval + timeout + 5*time.Second; took > limit {
		t.Errorf("that is more than %s", limit)
	}
	if n := g.metric(`cut_off_total{reason="ping_timeout"}`); int(n) != gone {
		t.Errorf("the counter says %v, want %d", n, gone)
	}
	g.check(near, 1, published)
	if n, err := g.publish(a, "c", strconv.Itoa(published+1)); n != len(near.clients) || err != nil {
		t.Errorf("published to %d, want %d; %v", n, len(near.clients), err)
	}
	g.check(near, 1, published+1)
	g.settled(before)
	network.Close()
	far.lose(t)
	near.close(t)
}

func TestANetworkThatIsSilentForAWhileCostsNothing(t *testing.T) {
	t.Parallel()
	const events = 100
	g := start(t, "ping_interval 1s\n\t\tping_timeout 60s")
	a := g.newApp()
	network := g.relay(relay.Fault{}, relay.Fault{})
	crowd := g.joinAs(a.at(network.Addr()), "c", mixed(5)...)
	resume := network.Vanish()
	begin := time.Now()
	for i := range events {
		if n, err := g.publish(a, "c", strconv.Itoa(i+1)); n != len(crowd.clients) || err != nil {
			t.Fatalf("published to %d, %v", n, err)
		}
	}
	g.await("pings are due", 5*time.Second, func() bool { return time.Since(begin) > 1500*time.Millisecond })
	for i, account := range crowd.accounts {
		if _, last, _ := account.state(); last != 0 {
			t.Errorf("client %d heard event %d", i, last)
		}
	}
	resume()
	g.check(crowd, 1, events)
	crowd.lose(t)
}
