package stress

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// account holds the events of one channel against what a client got of it.
type account struct {
	mu   sync.Mutex
	last int // the number of the last event, 0 before the first
	from int // the number of the first
	bad  string
}

// take notes an event whose data is its number in the channel, or an array
// that begins with it.
func (a *account) take(packet string) {
	text, ok := strings.CutPrefix(packet, `2["e",`)
	if !ok {
		return
	}
	text, _, _ = strings.Cut(strings.TrimPrefix(text, "["), ",")
	n, err := strconv.Atoi(strings.TrimRight(text, "]"))
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.bad != "":
	case err != nil:
		a.bad = packet
	case a.last == 0:
		a.from = n
	case n != a.last+1:
		a.bad = fmt.Sprintf("event %d after %d", n, a.last)
	}
	a.last = n
}

func (a *account) state() (from, last int, bad string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.from, a.last, a.bad
}

// audience is a number of clients in one channel, each with its account.
type audience struct {
	clients  []*client.Client
	accounts []*account
}

// join connects an audience and waits until all are in the channel.
func (g *gateway) join(a app, channel string, transports ...client.Transport) *audience {
	g.t.Helper()
	return g.joinAs(client.Config{Addr: g.Addr, AppID: a.ID, Key: a.SubscribeKey}, channel, transports...)
}

// joinAs is join with a client's configuration, but for its transport.
func (g *gateway) joinAs(cfg client.Config, channel string, transports ...client.Transport) *audience {
	g.t.Helper()
	n := len(transports)
	crowd := &audience{clients: make([]*client.Client, n), accounts: make([]*account, n)}
	var subscribed atomic.Int64
	each(g.t, n, 32, func(i int) (err error) {
		crowd.accounts[i] = new(account)
		cfg := cfg
		cfg.Transport = transports[i]
		cfg.OnPacket = func(packet string) {
			if strings.HasPrefix(packet, `2["subscribed"`) {
				subscribed.Add(1)
				return
			}
			crowd.accounts[i].take(packet)
		}
		if crowd.clients[i], err = client.Dial(cfg); err != nil {
			return err
		}
		return crowd.clients[i].Subscribe(channel)
	})
	g.await("all have joined", 15*time.Second, func() bool { return subscribed.Load() == int64(n) })
	return crowd
}

// check fails the test unless every client got the events up to last, each
// once and in order, and is still connected.
func (g *gateway) check(crowd *audience, first, last int) {
	g.t.Helper()
	g.await("every client has every event", 20*time.Second, func() bool {
		for i, account := range crowd.accounts {
			if _, n, bad := account.state(); n < last && bad == "" && crowd.clients[i].Err() == nil {
				return false
			}
		}
		return true
	})
	for i, account := range crowd.accounts {
		if from, n, bad := account.state(); from != first || n != last || bad != "" {
			g.t.Errorf("client %d got %d to %d, want %d to %d; %s", i, from, n, first, last, bad)
		}
		if err := crowd.clients[i].Err(); err != nil {
			g.t.Errorf("client %d was disconnected: %v", i, err)
		}
	}
}

func (crowd *audience) close(t *testing.T) {
	t.Helper()
	each(t, len(crowd.clients), 32, func(i int) error { return ignoreClosed(crowd.clients[i].Close()) })
}

func repeat(transport client.Transport, n int) []client.Transport {
	list := make([]client.Transport, n)
	for i := range list {
		list[i] = transport
	}
	return list
}

// keepPublishing publishes 1, 2, 3 and so on to a channel, until the function
// that it returns is called. At a reload Caddy itself resets connections that its
// old listener has not yet accepted. Such a publish was not read: it is counted
// and sent again.
func (g *gateway) keepPublishing(a app, channel string, pause time.Duration) (finish func() (published, resets int)) {
	var published, resets int
	stop := make(chan struct{})
	var publisher sync.WaitGroup
	publisher.Go(func() {
		fresh := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			_, err := g.publishWith(fresh, a, channel, strconv.Itoa(published+1))
			if _, reset := errors.AsType[*url.Error](err); reset {
				resets++
				continue
			}
			if err != nil {
				g.t.Errorf("publish %d: %v", published+1, err)
				return
			}
			published++
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	return func() (int, int) {
		close(stop)
		publisher.Wait()
		return published, resets
	}
}

// unstartable makes a configuration fail when apps start, before or after ours:
// no machine has this address.
func unstartable(caddyfile string) string {
	return strings.Replace(caddyfile, "	realtime\n}", "	realtime\n	bind 127.0.0.1 203.0.113.1\n}", 1)
}

// It has the machine to itself, as clients on polling have half a second at a
// reload to poll again.
func TestReloadsCostNoSocketAndNoEvent(t *testing.T) {
	g := start(t, "")
	a := g.newApp()
	reloads := sized(12, 20)
	crowd := g.join(a, "c", append(repeat(client.OverWebSocket, sized(200, 400)), repeat(client.OverPolling, sized(60, 100))...)...)

	finish := g.keepPublishing(a, "c", 20*time.Millisecond)
	for i := range reloads {
		switch i % 4 {
		case 3:
			if err := g.reload(unstartable(g.caddyfile("max_channels 7"))); err == nil {
				t.Error("a reload that must fail did not")
			}
		default:
			if err := g.reload(g.caddyfile(fmt.Sprintf("max_channels %d", 50+i))); err != nil {
				t.Errorf("reload: %v", err)
			}
		}
		time.Sleep(100 * time.Millisecond) // time for events between two reloads; nothing waits for it
	}
	published, resets := finish()
	t.Logf("%d events through %d reloads; Caddy reset %d connections", published, reloads, resets)
	g.check(crowd, 1, published)
	crowd.close(t)
}

func TestUpgradesUnderFullLoadKeepEveryEvent(t *testing.T) {
	g := start(t, "")
	a := g.newApp()
	var next atomic.Int64
	stop := make(chan struct{})
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for {
			if _, err := g.publish(a, "c", strconv.FormatInt(next.Add(1), 10)); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	const n = 200
	accounts := make([]*account, n)
	clients := make([]*client.Client, n)
	each(t, n, 32, func(i int) error {
		accounts[i] = new(account)
		subscribed := make(chan struct{})
		c, err := client.Dial(client.Config{
			Addr: g.Addr, Transport: client.OverPolling, AppID: a.ID, Key: a.SubscribeKey,
			OnPacket: func(packet string) {
				if strings.HasPrefix(packet, `2["subscribed"`) {
					close(subscribed)
				}
				accounts[i].take(packet)
			},
		})
		if err != nil {
			return err
		}
		clients[i] = c
		if err := c.Subscribe("c"); err != nil {
			return err
		}
		<-subscribed
		return c.Upgrade()
	})
	close(stop)
	publisher.Wait()
	last := int(next.Load())
	t.Logf("%d events while %d clients upgraded", last, n)
	for i, account := range accounts {
		g.await("every event has arrived", 20*time.Second, func() bool { _, got, bad := account.state(); return got >= last || bad != "" })
		if _, got, bad := account.state(); got != last || bad != "" {
			t.Errorf("client %d got up to %d of %d; %s", i, got, last, bad)
		}
		if _, ok := clients[i].Conn().(*client.WebSocket); !ok {
			t.Errorf("client %d is still on polling", i)
		}
	}
	each(t, n, 32, func(i int) error { return ignoreClosed(clients[i].Close()) })
}

func TestExitEndsWithinTheDrainWhateverIsOpen(t *testing.T) {
	t.Parallel()
	g := start(t, "") // with the default, 15s
	a := g.newApp()
	crowd := g.join(a, "c", append(repeat(client.OverWebSocket, 1000), append(repeat(client.OverPolling, 100), repeat(client.Upgraded, 50)...)...)...)
	// Requests that never become whole.
	for _, part := range []string{
		"", "GET /", "GET / HTTP/1.1\r\nHost: " + g.Addr + "\r\n",
		"POST /publish HTTP/1.1\r\nHost: " + g.Addr + "\r\nContent-Type: application/json\r\nX-App-Id: " + a.ID +
			"\r\nAuthorization: Bearer " + a.PublishKey + "\r\nContent-Length: 100\r\n\r\n{",
	} {
		conn, err := net.Dial("tcp", g.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	polls := len(crowd.clients) - 150
	for i := polls; i < polls+100; i++ {
		select {
		case <-crowd.clients[i].Done():
		case <-time.After(5 * time.Second):
			t.Fatal("a poll did not end")
		}
	}
	if took := time.Since(begin); took > 5*time.Second { // of a drain of 15, on a busy machine
		t.Errorf("polls ended after %s, not at once", took)
	}
	for _, c := range crowd.clients {
		select {
		case <-c.Done():
		case <-time.After(5 * time.Second):
			t.Fatal("a client was not disconnected")
		}
	}
	select {
	case <-g.ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the process did not end")
	}
	t.Logf("ended %s after SIGTERM", time.Since(begin))
	if took := time.Since(begin); took > 20*time.Second { // a busy machine has its share
		t.Errorf("exit took %s, more than the drain of 15s", took)
	}
	for i, c := range crowd.clients {
		// 1001 is a transport close; a DISCONNECT would keep clients away.
		if err := c.Err(); i < polls && !strings.Contains(err.Error(), "1001") {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	if g.err != nil {
		t.Errorf("exit: %v", g.err)
	}
	g.expectEnd()
}
