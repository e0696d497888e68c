package engineio_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// push queues a message and flushes it, as the hub does.
func push(p *peer, packet *engineio.Packet) {
	if p.Queue(packet) {
		p.Flush(nil)
	}
}

func TestFlushedMessagesArriveInOrderWithOthers(t *testing.T) {
	for name, kind := range map[string]func(testing.TB, engineio.Config, app) *server{"plain": serve, "TLS": serveTLS} {
		t.Run(name, func(t *testing.T) {
			srv := kind(t, config(), app{})
			c := srv.dial()
			p := srv.peer(c.SID)
			const senders, messages = 4, 500
			var wg sync.WaitGroup
			for sender := range senders {
				wg.Go(func() {
					for i := range messages {
						packet := engineio.TextPacket(fmt.Appendf(nil, "%d %d", sender, i))
						if sender%2 == 0 {
							push(p, packet)
						} else {
							p.Send(packet)
						}
					}
				})
			}
			next := make([]int, senders)
			for range senders * messages {
				var sender, i int
				if _, err := fmt.Sscanf(c.text(), "4%d %d", &sender, &i); err != nil {
					t.Fatal(err)
				}
				if i != next[sender] {
					t.Fatalf("sender %d: message %d in place of %d", sender, i, next[sender])
				}
				next[sender]++
			}
			wg.Wait()
			eventually(t, "nothing is queued", func() bool { return p.Queued() == 0 })
		})
	}
}

func TestFlushWakesAPoll(t *testing.T) {
	srv := serve(t, config(), app{})
	c := srv.openPolling()
	answers := c.pending()
	push(srv.peer(c.SID), engineio.TextPacket([]byte("hi")))
	is(t, answers, 200, "4hi")
}

// What the kernel does not accept at once is left to a writer: no message is
// cut, and the publisher does not wait.
func TestFlushToAStalledClientDoesNotBlock(t *testing.T) {
	cfg := config()
	cfg.MaxQueue = 4 << 20
	srv := serve(t, cfg, app{})
	c := srv.dial() // it does not read yet
	p := srv.peer(c.SID)
	sent := 0
	for p.Queued() < 1<<20 {
		began := time.Now()
		push(p, engineio.TextPacket(fmt.Appendf(nil, "%d ", sent), fill(100_000)))
		if took := time.Since(began); took > time.Second {
			t.Fatalf("a Flush took %v", took)
		}
		sent++
	}
	for want := range sent {
		got := c.text()
		var n int
		if _, err := fmt.Sscanf(got, "4%d ", &n); err != nil || n != want || len(got) < 100_000 {
			t.Fatalf("message %d: %d, %d bytes, %v", want, n, len(got), err)
		}
	}
	eventually(t, "nothing is queued", func() bool { return p.Queued() == 0 })
}

func TestFlushOfAnEndedSessionDoesNothing(t *testing.T) {
	srv := serve(t, config(), app{})
	p := srv.peer(srv.dial().SID)
	p.Abort(engineio.ForcedClose)
	if p.Queue(engineio.TextPacket([]byte("hi"))) {
		t.Error("a Flush is owed")
	}
	p.endsWith(engineio.ForcedClose)
}
