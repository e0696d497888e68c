//go:build network && linux

package stress

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
	"github.com/seed-c079cc48/caddy-realtime/tests/wire"
)

// make network runs what is here, in a network namespace of its own. The
// gateway is in another; a good wire is for the test's own requests, a bad one
// for clients.

const (
	good = "192.0.2.1"
	bad  = "198.51.100.1"
)

// distant is a gateway behind both wires: at Addr and Admin over the good one,
// at Host over TLS and at Plain over the bad one.
type distant struct {
	*secure
	Plain string
	bad   *wire.Wire
}

// startDistant starts a gateway behind a wire of some weather.
func startDistant(t *testing.T, settings string, weather wire.Weather) *distant {
	t.Helper()
	ns, err := wire.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Close)
	join := func(name, there string, weather wire.Weather) *wire.Wire {
		far := netip.MustParseAddr(there)
		w, err := wire.Join(name, netip.PrefixFrom(far.Next(), 24), ns, netip.PrefixFrom(far, 24), weather)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Close)
		return w
	}
	join("good0", good, wire.Weather{})
	d := &distant{secure: &secure{Host: bad + ":8443"}, Plain: bad + ":8080", bad: join("bad0", bad, weather)}
	d.gateway = startWith(t, func(g *gateway) string {
		d.gateway = g
		g.Addr, g.Admin = good+":8080", good+":2019"
		g.spawn = func(cmd *exec.Cmd) error { return ns.Do(cmd.Start) }
		return fmt.Sprintf(`{
	admin %s
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	realtime {
		rate_limit 0
		%s
	}
}
http://%s, http://%s {
	realtime
}
https://%s {
	tls internal
	realtime
}
`, g.Admin, settings, g.Addr, d.Plain, d.Host)
	})
	d.tls = &tls.Config{RootCAs: d.root(), ServerName: bad}
	return d
}

// report says what the wire has done.
func (d *distant) report() {
	d.t.Helper()
	c := d.bad.Count()
	d.t.Logf("%d packets passed, %d were lost, %d doubled, %d overtaken", c.Passed, c.Lost, c.Doubled, c.Overtaken)
}

// publishAt publishes events from first to last over the good wire, at a pace.
func (d *distant) publishAt(a app, pace time.Duration, first, last int) {
	d.t.Helper()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := first; i <= last; i++ {
		<-tick.C
		if _, err := d.publish(a, "c", strconv.Itoa(i)); err != nil {
			d.t.Fatal(err)
		}
	}
}

func TestEventsComeInOrderOverALossyNetwork(t *testing.T) {
	const kind, events = 15, 500
	d := startDistant(t, "ping_interval 5s\n\t\tping_timeout 15s", wire.Weather{
		Loss: 0.05, Double: 0.02, Delay: 50 * time.Millisecond, Jitter: 30 * time.Millisecond,
	})
	a := d.newApp()
	begin := time.Now()
	crowds := map[string]*audience{}
	for _, transport := range mixed(1) {
		crowds[string(transport)] = d.joinAs(a.at(d.Plain), "c", repeat(transport, kind)...)
	}
	for _, name := range []string{"HTTP2", "HTTP3"} {
		over, host := protocols[name](d.secure, new(atomic.Int64))
		cfg := a.at(host)
		cfg.HTTP = over
		crowds[name] = d.joinAs(cfg, "c", repeat(client.OverPolling, kind)...)
		defer closeAll(t, over)
	}
	t.Logf("%d clients had joined after %s", kind*len(crowds), time.Since(begin))
	begin = time.Now()
	d.publishAt(a, 20*time.Millisecond, 1, events)
	t.Logf("%d events took %s", events, time.Since(begin))
	for name, crowd := range crowds {
		begin := time.Now()
		d.check(crowd, 1, events)
		t.Logf("%s: all had all, %s later", name, time.Since(begin))
	}
	d.report()
	for _, crowd := range crowds {
		crowd.lose(t)
	}
}

func TestVanishedPeersLeaveNothingBehind(t *testing.T) {
	const interval, timeout, kind = 2 * time.Second, 3 * time.Second, 10
	d := startDistant(t, fmt.Sprintf("ping_interval %s\n\t\tping_timeout %s", interval, timeout),
		wire.Weather{Loss: 0.02, Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond})
	a := d.newApp()
	near := d.join(a, "c", mixed(3)...)
	before := d.usage()
	far := d.joinAs(a.at(d.Plain), "c", repeat(client.OverWebSocket, kind)...)
	over, host := protocols["HTTP3"](d.secure, new(atomic.Int64))
	cfg := a.at(host)
	cfg.HTTP = over
	three := d.joinAs(cfg, "c", repeat(client.OverPolling, kind)...)

	d.bad.Silence(true)
	begin := time.Now()
	published := 0
	d.await("they are gone", 3*(interval+timeout), func() bool {
		published++
		d.publishAt(a, 10*time.Millisecond, published, published)
		return d.connections(a) == len(near.clients)
	})
	took := time.Since(begin)
	t.Logf("%d clients were gone after %s", 2*kind, took)
	if limit := interval + timeout + 1500*time.Millisecond; took > limit {
		t.Errorf("that is more than %s", limit)
	}
	for i, c := range far.clients {
		if n := d.heldFor(c.Conn().(*client.WebSocket).LocalAddr()); n != 0 {
			t.Errorf("the kernel still holds %d bytes for client %d", n, i)
		}
	}
	d.check(near, 1, published)
	d.settled(before)
	d.report()
	far.lose(t)
	three.lose(t)
	_ = over.Transport.(interface{ Close() error }).Close()
	near.close(t)
}

// The stock clients' wire falls silent for longer than they wait for pings.
func TestStockClientsComeBackOverALossyNetwork(t *testing.T) {
	// A SYN that is lost is sent again after 1, 2 and 4 s: less would be heard
	// as silence.
	d := startDistant(t, "ping_interval 2s\n\t\tping_timeout 8s", wire.Weather{
		Loss: 0.05, Double: 0.02, Delay: 50 * time.Millisecond, Jitter: 30 * time.Millisecond,
	})
	a := d.newApp()
	log := watch(t, exec.Command("node", "../wire/subscriber.mjs", "http://"+d.Plain, a.ID, a.SubscribeKey))
	published := 0
	defer func() {
		if t.Failed() {
			for transport, lines := range log.byTransport() {
				t.Logf("%s: %v", transport, lines)
			}
		}
	}()
	for times := 1; times <= 3; times++ {
		d.await("all three are subscribed", 30*time.Second, func() bool { return log.count("subscribed") == 3*times })
		d.publishAt(a, 20*time.Millisecond, published+1, published+50)
		published += 50
		d.await("the last event has come", 20*time.Second, func() bool { return log.has(published) == 3 })
		if times == 3 {
			break
		}
		d.bad.Silence(true)
		d.await("all three have noticed", 40*time.Second, func() bool {
			published++
			d.publishAt(a, 20*time.Millisecond, published, published)
			return log.count("disconnect") == 3*times
		})
		d.bad.Silence(false)
	}
	d.report()
	for transport, lines := range log.byTransport() {
		last := 0 // the last event since the client was subscribed, 0 if none
		events := 0
		for _, l := range lines {
			switch n, ok := l.Value.(float64); {
			case l.What == "subscribed":
				last = 0
			case l.What == "disconnect" && l.Value != "ping timeout":
				t.Errorf("%s was disconnected: %v", transport, l.Value)
			case l.What != "e":
			case !ok || last != 0 && int(n) != last+1:
				t.Errorf("%s: event %v after %d", transport, l.Value, last)
			default:
				events, last = events+1, int(n)
			}
		}
		t.Logf("%s had %d of %d events, in three connections", transport, events, published)
		if last != published {
			t.Errorf("%s: the last is %d, want %d", transport, last, published)
		}
	}
}
