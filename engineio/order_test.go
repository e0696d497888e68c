package engineio_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// A checker verifies that each message of several senders arrives once and in
// order, up to the last.
type checker struct {
	t    testing.TB
	next map[int]int
	left int // senders that have not finished
}

func newChecker(t testing.TB, senders int) *checker {
	t.Helper()
	return &checker{t: t, next: make(map[int]int), left: senders}
}

// numbered returns a message of a sender, which can be its last.
func numbered(sender, i int, last bool) string {
	return fmt.Sprintf("%d %d %t", sender, i, last)
}

// take returns true after the last message, or after a wrong one.
func (c *checker) take(packet string) bool {
	words := strings.Split(strings.TrimPrefix(packet, "4"), " ")
	if len(words) != 3 || packet[0] != '4' {
		c.t.Errorf("no message but %.100q", packet)
		return true
	}
	sender, _ := strconv.Atoi(words[0])
	i, _ := strconv.Atoi(words[1])
	if want := c.next[sender]; i != want {
		c.t.Errorf("message %d of sender %d comes where %d is due", i, sender, want)
		return true
	}
	c.next[sender]++
	if words[2] == "true" {
		c.left--
	}
	return c.left == 0
}

const (
	senders  = 4
	messages = 500
)

// sendAll sends to all sessions concurrently: a fixed number of messages, or
// more until enough returns true.
func sendAll(t testing.TB, enough func() bool, peers ...*peer) {
	t.Helper()
	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() {
			for i, last := 0, false; !last; i++ {
				last = i >= messages && enough()
				packet := engineio.TextPacket([]byte(numbered(sender, i, last)))
				for _, p := range peers {
					if !p.Send(packet) {
						t.Error("a session ended")
						return
					}
				}
			}
		})
	}
	all.Wait()
}

func atOnce() bool { return true }

func TestMessagesOfManySendersArriveInOrder(t *testing.T) {
	t.Run("websocket", func(t *testing.T) {
		srv := serve(t, config(), app{})
		c := srv.dial()
		go sendAll(t, atOnce, srv.peer(c.SID))
		for check := newChecker(t, senders); !check.take(c.text()); {
		}
	})
	t.Run("polling", func(t *testing.T) {
		srv := serve(t, config(), app{})
		client := srv.openPolling()
		go sendAll(t, atOnce, srv.peer(client.SID))
		client.collect(newChecker(t, senders))
	})
}

// collect polls until all messages have arrived.
func (p *poller) collect(check *checker) {
	p.server.t.Helper()
	for {
		status, body := p.get()
		if status != http.StatusOK {
			p.server.t.Fatalf("poll: %d %s", status, body)
		}
		if slices.ContainsFunc(parts(body), check.take) {
			return
		}
	}
}

func TestEventsOfAClientArriveInOrder(t *testing.T) {
	for _, transport := range []string{"websocket", "polling"} {
		t.Run(transport, func(t *testing.T) {
			var inside atomic.Int32
			check := newChecker(t, 1)
			done := make(chan struct{})
			srv := serve(t, config(), app{text: func(_ *engineio.Session, payload []byte) {
				if inside.Add(1) != 1 {
					t.Error("two calls of a receiver overlap")
				}
				if check.take("4" + string(payload)) {
					close(done)
				}
				inside.Add(-1)
			}})
			if transport == "websocket" {
				c := srv.dial()
				for i := range messages {
					c.send("4" + numbered(0, i, i == messages-1))
				}
			} else {
				client := srv.openPolling()
				for i := 0; i < messages; i += 2 {
					client.posts("4"+numbered(0, i, false)+"\x1e4"+numbered(0, i+1, i+1 == messages-1), http.StatusOK)
				}
			}
			<-done
		})
	}
}

// Like stock clients: the pending poll ends, then the client moves.
func TestUpgradesWhileMessagesAreSentAtFullSpeed(t *testing.T) {
	srv := serve(t, config(), app{})
	const clients = 100
	var (
		peers   []*peer
		pollers []*poller
		all     sync.WaitGroup
		moved   atomic.Int32
	)
	for range clients {
		client := srv.openPolling()
		pollers = append(pollers, client)
		peers = append(peers, srv.peer(client.SID))
	}
	for i, client := range pollers {
		all.Go(func() {
			check := newChecker(t, senders)
			for range 1 + i%10 { // spread over time
				_, body := client.get()
				client.takeAll(check, body)
			}
			waits := client.background()
			c := client.probe()
			a := <-waits
			client.takeAll(check, a.body)
			c.send("5")
			check.take(c.text())
			moved.Add(1)
			for !check.take(c.text()) {
			}
		})
	}
	sendAll(t, func() bool { return moved.Load() == clients }, peers...)
	all.Wait()
}

// takeAll checks a payload that cannot be the last.
func (p *poller) takeAll(check *checker, body string) {
	p.server.t.Helper()
	if body == "6" {
		return
	}
	for _, packet := range parts(body) {
		if check.take(packet) {
			p.server.t.Fatalf("on polling: %.100q", body)
		}
	}
}

// Nothing decides whether a POST or the upgrade comes first.
func TestPostsThatRaceAnUpgrade(t *testing.T) {
	var received atomic.Int64
	srv := serve(t, config(), app{text: func(*engineio.Session, []byte) { received.Add(1) }})
	var accepted int64
	for range 50 {
		client := srv.openPolling()
		c := client.probe()
		posted := make(chan int, 1)
		go func() {
			status, _, _ := client.try(context.Background(), http.MethodPost, strings.NewReader("4hello"))
			posted <- status
		}()
		c.write(joined(text("5"), text("4hello")))
		accepted++
		switch status := <-posted; status {
		case http.StatusOK:
			accepted++
		case http.StatusBadRequest: // the websocket came first
		default:
			t.Fatalf("POST: %d", status)
		}
		eventually(t, "all that was accepted is received", func() bool { return received.Load() == accepted })
		c.conn.Close()
	}
}

// The order is undefined, but everything ends, and only once.
func TestCloseRacesEverything(t *testing.T) {
	srv := serve(t, config(), app{})
	for i := range 150 {
		client := srv.openPolling()
		p := srv.peer(client.SID)
		var racers sync.WaitGroup
		race := func(f func()) { racers.Go(f) }
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		request := func(method, body string) {
			_, _, _ = client.try(ctx, method, strings.NewReader(body))
		}
		race(func() { request(http.MethodGet, "") })
		race(func() { request(http.MethodPost, "4hello") })
		race(func() {
			conn := srv.raw(fmt.Sprintf(handshake, "&sid="+client.SID) + string(joined(text("2probe"), text("5"), text("4hello"))))
			defer conn.Close()
			if i%3 == 0 {
				<-ctx.Done()
			}
		})
		race(func() { p.Send(engineio.TextPacket([]byte("hello"))) })
		race(func() {
			switch i % 4 {
			case 0:
				p.Close("test")
			case 1:
				p.Abort("test")
			case 2:
				request(http.MethodPost, "1")
			case 3:
				request(http.MethodGet, "")
			}
		})
		racers.Wait()
		cancel()
		p.Abort("test") // it may still be open, or closing
	}
	eventually(t, "all sessions are gone", func() bool { return srv.Len() == 0 })
}
