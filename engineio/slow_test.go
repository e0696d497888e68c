package engineio_test

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// sendUntilCut sends packets of 4 KB until the session is cut off, waiting for
// others to keep up. It returns the number sent and the longest time that a
// single send took.
func sendUntilCut(slow *peer, others ...*peer) (sent int, longest time.Duration) {
	for {
		packet := engineio.TextPacket(fmt.Appendf(nil, "%d", sent), fill(4000))
		for _, p := range others {
			eventually(p.server.t, "the others keep up", func() bool { return p.Queued() < 100<<10 })
			p.Send(packet)
		}
		began := time.Now()
		open := slow.Send(packet)
		longest = max(longest, time.Since(began))
		if !open {
			return sent, longest
		}
		sent++
	}
}

// stalled connects with small buffers, so that little is in flight.
func (s *server) stalled() *socket {
	s.t.Helper()
	c := s.dial()
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4 << 10)
	}
	return c
}

func TestAStalledClientIsCutOffAtTheQueuesBound(t *testing.T) {
	cfg := config()
	cfg.MaxQueue = 1 << 20
	for name, test := range map[string]struct {
		serve func(testing.TB, engineio.Config, app) *server
		stall func(s *server) *peer
	}{
		"websocket":      {serve, func(s *server) *peer { return s.peer(s.stalled().SID) }},
		"websocket, TLS": {serveTLS, func(s *server) *peer { return s.peer(s.stalled().SID) }},
		"polling":        {serve, func(s *server) *peer { return s.peer(s.openPolling().SID) }},
	} {
		t.Run(name, func(t *testing.T) {
			srv := test.serve(t, cfg, app{})
			slow := test.stall(srv)
			other := srv.dial()
			var got atomic.Int64
			go func() {
				for {
					if _, err := other.next(); err != nil {
						return
					}
					got.Add(1)
				}
			}()
			before := heap()
			sent, longest := sendUntilCut(slow, srv.peer(other.SID))
			slow.endsWith(engineio.SlowClient)
			if grown := heap() - before; grown > 1<<20 {
				t.Errorf("%d bytes are left of the client", grown)
			}
			if longest > time.Second {
				t.Errorf("a Send took %v", longest)
			}
			if n := srv.Stats().Overflows.Load(); n != 1 {
				t.Errorf("%d overflows are counted", n)
			}
			eventually(t, "the other gets all", func() bool { return got.Load() == int64(sent)+1 })
			t.Logf("cut off behind %d packets of 4 KB, the longest Send took %v", sent, longest)
		})
	}
}

// The memory that waits for one client is bounded, not just the count.
func TestAStalledClientTakesItsBoundOfMemory(t *testing.T) {
	cfg := config()
	cfg.MaxQueue = 4 << 20
	for _, size := range []int{0, 10, 4000} {
		srv := serve(t, cfg, app{})
		p := srv.peer(srv.openPolling().SID)
		before := heap()
		for p.Queued()+size+64 <= cfg.MaxQueue {
			if !p.Send(engineio.TextPacket(fill(size))) {
				t.Fatal("cut off too early")
			}
		}
		if grown := heap() - before; grown > 3*int64(cfg.MaxQueue) {
			t.Errorf("a queue of %d bytes takes %d, in packets of %d", cfg.MaxQueue, grown, size)
		}
	}
}

// Their answers wait for a client that does not read.
func TestPingsOfAStalledClientAreBounded(t *testing.T) {
	cfg := config()
	cfg.MaxQueue = 64 << 10
	inBubble(t, cfg, func(b *bubble) {
		t := b.t
		c, p := b.dial()
		ping := masked(ws.NewPingFrame(nil))
		pings := 0
		for ; pings < 10_000; pings++ {
			if _, err := c.conn.Write(ping); err != nil {
				break
			}
		}
		p.endsWith(engineio.SlowClient)
		if pings > 1100 {
			t.Errorf("%d answers were kept in 64 KB", pings)
		}
	})
}

func TestAStalledClientIsCutOffByTheWriteTimeout(t *testing.T) {
	cfg := config()
	cfg.MaxQueue, cfg.WriteTimeout = 64<<20, time.Second
	stalled := func(s *server) *peer {
		p := s.peer(s.stalled().SID)
		p.sendMuch()
		return p
	}
	for name, test := range map[string]struct {
		serve func(testing.TB, engineio.Config, app) *server
		stall func(s *server) *peer
	}{
		"websocket":      {serve, stalled},
		"websocket, TLS": {serveTLS, stalled},
		"poll": {serve, func(s *server) *peer {
			p := s.peer(s.openRaw())
			p.sendMuch()
			conn := s.raw("GET /?EIO=4&transport=polling&sid=" + p.ID() + " HTTP/1.1\r\nHost: x\r\n\r\n")
			s.t.Cleanup(func() { conn.Close() })
			return p
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := test.serve(t, cfg, app{})
			test.stall(srv).endsWith(engineio.SlowClient)
			if n := srv.Stats().WriteTimeouts.Load(); n != 1 {
				t.Errorf("%d write timeouts are counted", n)
			}
		})
	}
}

// sendMuch sends 12 MiB, more than a connection's buffers hold: Linux lets a
// sender's grow to 4 MiB, and a receiver's does not grow while nothing reads.
func (p *peer) sendMuch() {
	p.Send(engineio.TextPacket(make([]byte, 12<<20)))
}

func TestACloseThatCannotBeWrittenEnds(t *testing.T) {
	for proto, serve := range map[string]func(testing.TB, engineio.Config, app) *server{"plain": serve, "TLS": serveTLS} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			cfg.MaxQueue, cfg.WriteTimeout = 64<<20, 2*time.Second
			srv := serve(t, cfg, app{})
			p := srv.peer(srv.stalled().SID)
			p.sendMuch()
			p.Close("test")
			p.endsWith("test")
			eventually(t, "the session is gone", func() bool { return srv.Len() == 0 })
		})
	}
}

// 10 kB per second is enough.
func TestAClientThatIsMerelySlowCatchesUp(t *testing.T) {
	cfg := config()
	cfg.WriteTimeout = 10 * time.Second
	inBubble(t, cfg, func(b *bubble) {
		t := b.t
		c, p := b.dial()
		for i := range 500 {
			if !p.Send(engineio.TextPacket(fmt.Appendf(nil, "%04d", i), fill(1000))) {
				t.Fatal("cut off")
			}
		}
		for i := range 500 {
			time.Sleep(100 * time.Millisecond)
			c.gets(fmt.Sprintf("4%04d%s", i, fill(1000)))
		}
		synctest.Wait()
		if n := p.Queued(); n != 0 {
			t.Errorf("%d bytes count as queued behind the last", n)
		}
	})
}

func TestAMessageOverTheQueuesBoundPassesAlone(t *testing.T) {
	cfg := config()
	cfg.MaxQueue = 1000
	srv := serve(t, cfg, app{})
	large := engineio.TextPacket(fill(5000))

	c := srv.dial()
	p := srv.peer(c.SID)
	for range 3 {
		eventually(t, "nothing waits", func() bool { return p.Queued() == 0 })
		if !p.Send(large) {
			t.Fatal("a large message was not taken")
		}
		c.gets("4" + string(fill(5000)))
	}

	client := srv.openPolling()
	p = srv.peer(client.SID)
	if !p.Send(large) {
		t.Fatal("a large message was not taken")
	}
	client.gets(200, "4"+string(fill(5000)))
	eventually(t, "nothing waits", func() bool { return p.Queued() == 0 })
	if !p.Send(large) || p.Send(large) {
		t.Error("not one large message was taken, and a second refused")
	}
	p.endsWith(engineio.SlowClient)
}

// Several packets form one message and arrive together or not at all.
func TestSeveralPacketsAreQueuedTogether(t *testing.T) {
	cfg := config()
	cfg.MaxQueue = 1000
	srv := serve(t, cfg, app{})
	client := srv.openPolling()
	p := srv.peer(client.SID)
	half := engineio.TextPacket(fill(400))
	if !p.Send(half) || p.Send(half, half) {
		t.Error("the bound holds for each packet, not for all")
	}
	p.endsWith(engineio.SlowClient)
}

// The queue is empty throughout, however much has gone through it.
func TestNothingCountsAsQueuedOnceItIsDelivered(t *testing.T) {
	srv := serve(t, config(), app{})
	client := srv.openPolling()
	p := srv.peer(client.SID)
	for i := range 100 {
		payload := "4a"
		if i%2 == 0 {
			payload = "bAQID\x1e4abc\x1e4"
		}
		client.posts(payload, 200)
		client.gets(200, payload)
	}
	c := client.upgrade()
	for i := range 100 {
		message := "4" + string(fill(i*100))
		c.send(message)
		c.gets(message)
	}
	eventually(t, "nothing counts as queued", func() bool { return p.Queued() == 0 })
	c.write(text("1"))
	_, _ = io.Copy(io.Discard, c.in)
}
