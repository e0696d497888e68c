package engineio_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// limited allows a client ten packets per minute.
func limited() engineio.Config {
	cfg := config()
	cfg.PingInterval = time.Hour
	cfg.MaxPackets, cfg.PacketWindow = 10, time.Minute
	return cfg
}

func TestAFloodOfAnyKindIsCutOffAtTwiceTheLimit(t *testing.T) {
	for name, one := range map[string][]byte{
		"messages":               text("4a"),
		"binary messages":        masked(ws.NewBinaryFrame([]byte("a"))),
		"websocket pings":        masked(ws.NewPingFrame(nil)),
		"websocket pongs":        masked(ws.NewPongFrame(nil)),
		"pongs":                  text("3"),
		"fragments of a message": masked(ws.NewFrame(ws.OpContinuation, false, nil)),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, limited(), app{text: func(*engineio.Session, []byte) {}, binary: func(*engineio.Session, []byte) {}})
			c := s.dial()
			p, sent := s.peer(c.SID), 0
			if name == "fragments of a message" {
				c.write(masked(ws.NewFrame(ws.OpText, false, []byte("4"))))
				sent++
			}
			for ; sent < 20; sent++ {
				c.write(one)
			}
			eventually(t, "all are counted", func() bool { return p.Packets() == 20 })
			if s.Stats().Floods.Load() != 0 {
				t.Fatal("cut off within twice the limit")
			}
			c.write(one)
			c.closes(ws.StatusPolicyViolation)
			p.endsWith(engineio.Flood)
			if n := s.Stats().Floods.Load(); n != 1 {
				t.Errorf("%d are counted", n)
			}
		})
	}
}

func TestAFloodOverPollingIsCutOffAtTwiceTheLimit(t *testing.T) {
	for name, posts := range map[string][]string{
		"one POST of many packets":  {strings.Repeat("4a\x1e", 20) + "4a"},
		"many POSTs of one":         strings.Fields(strings.Repeat("4a ", 21)),
		"many POSTs that hold none": append(strings.Fields(strings.Repeat(strings.Repeat("x", 100)+" ", 20)), "4a"),
	} {
		t.Run(name, func(t *testing.T) {
			cfg := limited()
			cfg.MaxPayload = 64
			s := serve(t, cfg, app{text: func(*engineio.Session, []byte) {}})
			c := s.openPolling()
			p := s.peer(c.SID)
			polled := c.pending()
			for i, body := range posts {
				want := http.StatusOK
				switch {
				case i == len(posts)-1:
					want = http.StatusTooManyRequests
				case len(body) > cfg.MaxPayload:
					want = http.StatusRequestEntityTooLarge
				}
				c.posts(body, want)
			}
			is(t, polled, http.StatusOK, "1")
			p.endsWith(engineio.Flood)
		})
	}
}

func TestAFloodBesideAProbeIsCutOff(t *testing.T) {
	s := serve(t, limited(), app{})
	c := s.openPolling()
	p := s.peer(c.SID)
	probe := c.probe()
	for range 21 {
		_, _ = probe.conn.Write(masked(ws.NewPingFrame(nil))) // the last ones reach a closed connection
	}
	p.endsWith(engineio.Flood)
}

func TestOverTheLimitTheReceiverIsToldUntilTheWindowIsOver(t *testing.T) {
	inBubble(t, limited(), func(b *bubble) {
		t := b.t
		p := b.openPolling()
		for range 10 {
			b.posts(p, "4a")
			if limit, _ := p.Excess(); limit != 0 {
				t.Fatalf("over %d within the limit", limit)
			}
		}
		time.Sleep(time.Minute / 4)
		b.posts(p, "4a")
		if limit, wait := p.Excess(); limit != 10 || wait != time.Minute*3/4 {
			t.Fatalf("the eleventh is over %d for %v", limit, wait)
		}
		time.Sleep(time.Minute * 3 / 4)
		if limit, _ := p.Excess(); limit != 0 {
			t.Errorf("over %d when the window is over", limit)
		}
		for range 10 {
			b.posts(p, "4a")
			if limit, _ := p.Excess(); limit != 0 {
				t.Errorf("over %d in the next window", limit)
			}
		}
	})
}

func TestAnswersToPingsDoNotCount(t *testing.T) {
	cfg := limited()
	cfg.PingInterval, cfg.MaxPackets = time.Second, 1
	inBubble(t, cfg, func(b *bubble) {
		p := b.openPolling()
		for range 50 {
			b.gets(p, http.StatusOK, "2")
			b.posts(p, "3")
		}
		b.posts(p, "4a")
		if limit, _ := p.Excess(); limit != 0 {
			b.t.Errorf("over %d with one message and 50 answers", limit)
		}
	})
}

func TestWhatAClientNeedsItMaySend(t *testing.T) {
	var needed atomic.Int64
	cfg := limited()
	cfg.NeededPackets = func(any) int { return int(needed.Load()) }
	inBubble(t, cfg, func(b *bubble) {
		p := b.openPolling()
		needed.Store(30)
		for range 30 {
			b.posts(p, "4a")
			if limit, _ := p.Excess(); limit != 0 {
				b.t.Fatalf("over %d", limit)
			}
		}
		b.posts(p, "4a")
		if limit, _ := p.Excess(); limit != 30 {
			b.t.Errorf("over %d, not 30", limit)
		}
		needed.Store(5)
		if code, _ := b.do(http.MethodPost, p.ID(), "4a"); code != http.StatusTooManyRequests {
			b.t.Errorf("%d over twice the limit, as it is now", code)
		}
		p.endsWith(engineio.Flood)
	})
}

// A client on polling fills its POSTs up to the maxPayload of its handshake.
func TestASessionKeepsTheMaxPayloadThatItsClientWasTold(t *testing.T) {
	inBubble(t, config(), func(b *bubble) {
		before := b.openPolling()
		cfg := config()
		cfg.MaxPayload = 10
		b.Configure(cfg)
		after := b.openPolling()
		body := "4" + strings.Repeat("x", 20)
		b.posts(before, body)
		if code, _ := b.do(http.MethodPost, after.ID(), body); code != http.StatusRequestEntityTooLarge {
			b.t.Errorf("a session that was opened later: %d", code)
		}
	})
}
