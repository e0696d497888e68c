package realtime

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// bounded are the defaults with limits of the entrance; 0 is none.
func bounded(inAll, perIP, connects int, window time.Duration) *Settings {
	s := new(Settings)
	s.setDefaults()
	s.MaxConnections, s.MaxConnectionsPerIP = &inAll, perIP
	s.ConnectRate = &Rate{Count: connects, Window: caddy.Duration(window)}
	return s
}

// outcome is what an address gets: "in", "over" or the code of a refusal.
func outcome(e *entrance, ip string, s *Settings) string {
	over, refusal := e.enter(ip, s)
	switch {
	case refusal != nil:
		return fmt.Sprintf("%d %s", refusal.Status, refusal.Code)
	case over:
		return "over"
	}
	return "in"
}

func TestAnAddressHasItsConnectionsAndNobodyElses(t *testing.T) {
	s := bounded(0, 2, 0, 0)
	var e entrance
	for i, step := range []struct{ ip, want string }{
		{"192.0.2.1", "in"},
		{"::ffff:192.0.2.1", "in"}, // the same
		{"192.0.2.1", "over"},
		{"192.0.2.2", "in"},
		{"192.0.2.1", "over"},
		{"192.0.2.1", "429 too_many_connections"},
		{"2001:db8:0:1::1", "in"},
		{"2001:db8:0:1:ffff::1", "in"}, // one customer's
		{"2001:db8:0:1::2%eth0", "over"},
		{"2001:db8:0:2::1", "in"},
		{"", "in"}, // behind a unix socket all are
		{"@", "in"},
		{"", "in"},
	} {
		if got := outcome(&e, step.ip, s); got != step.want {
			t.Errorf("step %d, %s: %s, not %s", i, step.ip, got, step.want)
		}
	}
	e.leave("192.0.2.1", true)
	if got := outcome(&e, "192.0.2.1", s); got != "over" {
		t.Errorf("the place of one that was only told so: %s", got)
	}
	e.leave("192.0.2.1", false)
	if got := outcome(&e, "192.0.2.1", s); got != "in" {
		t.Errorf("the place of one that was in: %s", got)
	}
	if got := outcome(&e, "192.0.2.1", bounded(0, 3, 0, 0)); got != "in" {
		t.Errorf("with a higher limit: %s", got)
	}
	if got := outcome(&e, "192.0.2.2", bounded(0, 1, 0, 0)); got != "over" {
		t.Errorf("with a lower limit: %s", got)
	}
}

func TestConnectionsInAllAreLimited(t *testing.T) {
	s := bounded(2, 0, 0, 0)
	var e entrance
	for i, want := range []string{"in", "in", "503 unavailable", "503 unavailable"} {
		if got := outcome(&e, fmt.Sprintf("192.0.2.%d", i), s); got != want {
			t.Errorf("client %d: %s, not %s", i, got, want)
		}
	}
	e.leave("192.0.2.0", false)
	if got := outcome(&e, "192.0.2.9", s); got != "in" {
		t.Errorf("when one has left: %s", got)
	}
}

func TestConnectsOfAnAddressAreLimitedByTheirRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bounded(0, 0, 3, time.Minute)
		var e entrance
		for range 3 {
			if got := outcome(&e, "192.0.2.1", s); got != "in" {
				t.Fatal(got)
			}
			e.leave("192.0.2.1", false) // a connect counts also when it is over
		}
		time.Sleep(20 * time.Second)
		_, refusal := e.enter("192.0.2.1", s)
		if refusal == nil || refusal.Status != http.StatusTooManyRequests || refusal.Code != "rate_limited" || refusal.RetryAfter != 40*time.Second {
			t.Fatalf("the fourth: %+v", refusal)
		}
		if got := outcome(&e, "192.0.2.2", s); got != "in" {
			t.Errorf("another address: %s", got)
		}
		time.Sleep(refusal.RetryAfter)
		if got := outcome(&e, "192.0.2.1", s); got != "in" {
			t.Errorf("after Retry-After: %s", got)
		}
		if e.open != 2 {
			t.Errorf("%d are counted; who is refused is not", e.open)
		}
	})
}

// Whoever comes and goes, under whatever limits: what is counted is who is there.
func TestEntranceCountsExactly(t *testing.T) {
	type one struct {
		ip   string
		over bool
	}
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		var e entrance
		var there []one
		for range 2000 {
			if len(there) > 0 && rnd.IntN(2) == 0 {
				i := rnd.IntN(len(there))
				e.leave(there[i].ip, there[i].over)
				there[i] = there[len(there)-1]
				there = there[:len(there)-1]
				continue
			}
			ip := []string{"", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:1::1"}[rnd.IntN(6)]
			s := bounded(rnd.IntN(20), rnd.IntN(5), rnd.IntN(2), time.Nanosecond) // as after reloads
			if over, refusal := e.enter(ip, s); refusal == nil {
				there = append(there, one{ip, over})
			}
		}
		total := 0
		for _, c := range e.from {
			total += c.in + c.over
		}
		want := 0
		for _, o := range there {
			if o.ip != "" {
				want++
			}
		}
		if e.open != len(there) || total != want {
			t.Fatalf("seed %d: %d and %d by address are counted, %d and %d are there", seed, e.open, total, len(there), want)
		}
		for _, o := range there {
			e.leave(o.ip, o.over)
		}
		if e.open != 0 || len(e.from) != 0 {
			t.Fatalf("seed %d: %d and %v are left", seed, e.open, e.from)
		}
	}
}

// counted is what the site's entrance counts.
func (s *site) counted() (open, addresses int) {
	e := &s.entrance
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.open, len(e.from)
}

// Refused and malformed handshakes, sessions that end in every way, and limits
// that change meanwhile: nothing of them is counted when they are gone.
func TestEntranceIsEmptyWhenAllHaveGone(t *testing.T) {
	s := newSite(t, func(app *App, _ *Handler) {
		second := caddy.Duration(time.Second)
		app.PingInterval, app.PingTimeout, app.ConnectTimeout, app.WriteTimeout = second, second, second, second
		app.MaxConnectionsPerIP = 20
	})
	made := s.newApp()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 25 {
				switch n := worker + i; n % 8 {
				case 0: // no handshakes
					for _, query := range []string{"", "EIO=3&transport=polling", "EIO=4&transport=websocket", "EIO=4&transport=smoke", "EIO=4&transport=polling&j=1"} {
						if answer, err := http.Get("http://" + s.addr + "/socket.io/?" + query); err == nil {
							_ = answer.Body.Close()
						}
					}
				case 1: // nobody comes for the session
					if answer, err := http.Get("http://" + s.addr + "/socket.io/?EIO=4&transport=polling"); err == nil {
						_ = answer.Body.Close()
					}
				case 2: // an upgrade that is given up
					if c, err := client.Dial(client.Config{Addr: s.addr, Transport: client.OverPolling, AppID: made.App.ID, Key: made.SubscribeKey}); err == nil {
						_ = c.Close()
					}
				default:
					key := made.SubscribeKey
					if n%8 == 3 {
						key = "wrong"
					}
					c, err := client.Dial(client.Config{Addr: s.addr, Transport: transports[n%3], AppID: made.App.ID, Key: key})
					if err != nil {
						continue // refused
					}
					if socket, ok := c.Conn().(*client.WebSocket); ok && n%2 == 0 {
						_ = socket.Reset()
					}
					_ = c.Close()
				}
				if worker == 0 { // a reload
					next := *s.handler.app
					next.MaxConnectionsPerIP = i % 12
					s.start(&next)
					s.stop(s.configs[0])
				}
			}
		})
	}
	wg.Wait()
	until(t, "nobody is counted", func() bool { open, addresses := s.counted(); return open == 0 && addresses == 0 })
	if n := s.eio.Len(); n != 0 {
		t.Errorf("%d sessions are open", n)
	}
}

// An empty sid is none: the session that it opens is as any other.
func TestAnEmptySessionIDOpensASession(t *testing.T) {
	s := newSite(t, nil)
	made := s.newApp()
	auth := fmt.Sprintf(`40{"appId":%q,"subscribeKey":%q}`, made.App.ID, made.SubscribeKey)
	if code, answer := s.connectError("&sid=", "", auth); code != "" || !strings.HasPrefix(answer, "40{") {
		t.Errorf("got %s %s", code, answer)
	}
}

func TestOverMaxConnectionsHandshakesAreToldToComeBack(t *testing.T) {
	one := 1
	s := newSite(t, func(app *App, _ *Handler) { app.MaxConnections = &one })
	made := s.newApp()
	m := s.dial(client.OverWebSocket, made.App.ID, made.SubscribeKey)
	for range 2 {
		answer, err := http.Get("http://" + s.addr + "/socket.io/?EIO=4&transport=polling")
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Error struct{ Code, Message string }
		}
		err = json.NewDecoder(answer.Body).Decode(&body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") != "1" ||
			body.Error.Code != "unavailable" || !strings.Contains(body.Error.Message, "max_connections") {
			t.Fatalf("%s, %+v, %v", answer.Status, body, err)
		}
	}
	_ = m.Close()
	until(t, "the place is free", func() bool { open, _ := s.counted(); return open == 0 })
	s.dial(client.OverPolling, made.App.ID, made.SubscribeKey)
}

func TestRefusalsAtTheEntranceAreLoggedSeldomWithTheirSetting(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	var e entrance
	s := bounded(7, 5, 3, time.Minute)
	crowded := apierr.CrowdedAddress(5)
	for range 100 {
		e.tell(zap.New(core), apierr.Full(), "192.0.2.1", s)
		e.tell(zap.New(core), crowded, "192.0.2.1", s)
		e.tell(zap.New(core), apierr.ConnectRate(3, time.Minute, time.Second), "192.0.2.1", s)
	}
	if logs.Len() > 6 { // three, or once more if ten seconds have just passed
		t.Errorf("%d lines", logs.Len())
	}
	for _, setting := range []string{"max_connections", "max_connections_per_ip", "connect_rate"} {
		if logs.Filter(func(l observer.LoggedEntry) bool { return strings.Contains(l.Message, "raise "+setting) }).Len() == 0 {
			t.Errorf("no line names %s", setting)
		}
	}
}
