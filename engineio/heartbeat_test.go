package engineio_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// beating is a config with the heartbeat of stock servers.
func beating() engineio.Config {
	cfg := config()
	cfg.PingInterval, cfg.PingTimeout = 25*time.Second, 20*time.Second
	return cfg
}

func TestHeartbeatOfAWebSocket(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		t := b.t
		began := time.Now()
		c, p := b.dial()
		for range 10 {
			c.gets("2")
			passed(t, began, 25*time.Second)
			time.Sleep(19 * time.Second)
			began = time.Now()
			c.send("3")
		}
		c.gets("2")
		began = time.Now()
		c.drained()
		passed(t, began, 20*time.Second)
		p.endsWith(engineio.PingTimeout)
		if n := b.Stats().PingTimeouts.Load(); n != 1 {
			t.Errorf("%d ping timeouts are counted", n)
		}
	})
}

func TestHeartbeatOfPolling(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		t := b.t
		began := time.Now()
		p := b.openPolling()
		for range 10 {
			b.gets(p, 200, "2")
			passed(t, began, 25*time.Second)
			time.Sleep(19 * time.Second)
			began = time.Now()
			b.posts(p, "3")
		}
		b.gets(p, 200, "2")
		began = time.Now()
		b.gets(p, 200, "1")
		passed(t, began, 20*time.Second)
		p.endsWith(engineio.PingTimeout)
	})
}

// To the nanosecond, not at the next tick of the wheel: the official suite
// checks it.
func TestAPollAtThePingTimeoutIsTooLate(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		for _, wait := range []time.Duration{0, 7 * time.Millisecond, 24 * time.Millisecond} {
			time.Sleep(wait) // a different point between two ticks
			early, late := b.openPolling(), b.openPolling()
			opened := time.Now()
			b.gets(early, 200, "2")
			b.gets(late, 200, "2")
			time.Sleep(time.Until(opened.Add(45*time.Second - 1)))
			b.posts(early, "3")
			time.Sleep(time.Nanosecond)
			b.gets(late, 400, "")
			late.endsWith(engineio.PingTimeout)
			b.posts(early, "4hello")
			b.gets(early, 200, "4hello")
		}
	})
}

func TestPongsThatNobodyAskedForChangeNothing(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		t := b.t
		began := time.Now()
		c, p := b.dial()
		for range 24 {
			time.Sleep(time.Second)
			c.send("3")
			c.write(masked(ws.NewPongFrame(nil)))
		}
		c.gets("2")
		passed(t, began, 25*time.Second)
		for range 19 {
			time.Sleep(time.Second)
			c.send("4only a pong counts")
			c.gets("4only a pong counts")
		}
		c.drained()
		passed(t, began, 45*time.Second)
		p.endsWith(engineio.PingTimeout)
	})
}

// A heartbeat longer than a turn of the wheel, and one that begins after the
// wheel was idle.
func TestHeartbeatsOfAllLengths(t *testing.T) {
	for _, interval := range []time.Duration{time.Millisecond, 300 * time.Millisecond, 51200 * time.Millisecond, 10 * time.Minute} {
		t.Run(interval.String(), func(t *testing.T) {
			cfg := config()
			cfg.PingInterval, cfg.PingTimeout = interval, interval
			inBubble(t, cfg, func(b *bubble) {
				t := b.t
				for range 3 {
					time.Sleep(time.Hour)
					began := time.Now()
					c, p := b.dial()
					c.gets("2")
					passed(t, began, interval)
					c.drained()
					passed(t, began, 2*interval)
					p.endsWith(engineio.PingTimeout)
				}
			})
		})
	}
}

func TestEachSessionHasItsOwnHeartbeat(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		t := b.t
		for range 200 {
			time.Sleep(37 * time.Millisecond)
			began := time.Now()
			c, _ := b.dial()
			go func() {
				for range 5 {
					c.gets("2")
					passed(t, began, 25*time.Second)
					began = time.Now()
					c.send("3")
				}
				c.conn.Close()
			}()
		}
		time.Sleep(3 * time.Minute)
		if n := b.Len(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

func TestASessionKeepsTheHeartbeatItWasOpenedWith(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		t := b.t
		began := time.Now()
		c, _ := b.dial()
		cfg := beating()
		cfg.PingInterval = time.Second
		b.Configure(cfg)
		c.gets("2")
		passed(t, began, 25*time.Second)
		began = time.Now()
		later, _ := b.dial()
		later.gets("2")
		passed(t, began, time.Second)
	})
}

// The client may be gone, so that no poll fetches the close.
func TestACloseThatNobodyFetchesEnds(t *testing.T) {
	cfg := beating()
	cfg.WriteTimeout = 10 * time.Second
	inBubble(t, cfg, func(b *bubble) {
		t := b.t
		p := b.openPolling()
		began := time.Now()
		p.Close("test")
		p.endsWith("test")
		passed(t, began, 11*time.Second)
		b.gets(p, 400, "")

		c, p := b.dial() // it reads nothing
		began = time.Now()
		p.Close("test")
		p.endsWith("test")
		passed(t, began, 11*time.Second)
		c.drained()
	})
}

// A ping is due, and the wheel is about to send it, when the session is closed.
func TestAPingThatIsDueDoesNotCutAClosingSessionOff(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		p := b.openPolling()
		p.Send(engineio.TextPacket([]byte("last")))
		p.Close("test")
		p.Beat(time.Now())
		b.gets(p, 200, "4last")
		b.gets(p, 200, "1")
		p.endsWith("test")
	})
}

// The client must not be penalized.
func TestAPingThatIsLateGivesTheClientItsWholeTime(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		t := b.t
		p := b.openPolling()
		late := time.Now().Add(60 * time.Second) // the process was stopped
		p.Beat(late)
		b.gets(p, 200, "2")
		time.Sleep(79 * time.Second)
		b.posts(p, "3")
		synctest.Wait()
		if n := b.Len(); n != 1 {
			t.Error("the session is gone")
		}
	})
}

// A farewell is kept for a moment, not forever.
func TestAFarewellThatNobodyFetchesIsForgotten(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		t := b.t
		p := b.openPolling()
		b.posts(p, "1")
		p.endsWith(engineio.TransportClose)
		time.Sleep(1100 * time.Millisecond)
		if n := len(b.Sessions()); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		b.gets(p, 400, "")
	})
}
