package engineio_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

func TestUpgrade(t *testing.T) {
	for proto, srv := range map[string]*server{
		"plain": serve(t, config(), app{}),
		"TLS":   serveTLS(t, config(), app{}),
	} {
		t.Run(proto, func(t *testing.T) {
			client := srv.openPolling()
			p := srv.peer(client.SID)
			client.posts("4on polling", 200)
			client.gets(200, "4on polling")

			waits := client.pending()
			c := client.probe()
			is(t, waits, 200, "6")
			p.Send(engineio.TextPacket([]byte("while probing")))
			client.gets(200, "4while probing")
			if p.Transport() != "polling" {
				t.Error("the probe alone moved the session")
			}
			p.Send(engineio.TextPacket([]byte("behind the last poll")))
			c.write(joined(text("5"), text("4right behind")))
			c.gets("4behind the last poll")
			c.gets("4right behind")
			if p.Transport() != "websocket" {
				t.Error("the session did not move")
			}

			// The session has no use for HTTP requests any more.
			client.gets(400, "")
			client.posts("4hello", 400)
			c.send("4hello")
			c.gets("4hello")
			c.write(text("1"))
			c.closes(ws.StatusNormalClosure)
			p.endsWith(engineio.TransportClose)
		})
	}
}

func TestAPollThatWaitsAtTheUpgradeIsRefused(t *testing.T) {
	srv := serve(t, config(), app{})
	for range 20 {
		client := srv.openPolling()
		c := client.probe()
		// The server ends polls beside a probe, also before this can see one wait.
		answers := client.background()
		session := srv.peer(client.SID).Session
		eventually(t, "a poll has reached the server", func() bool { return session.Polled() || len(answers) == 1 })
		c.send("5")
		if a := <-answers; a.status != 400 && (a.status != 200 || a.body != "6") {
			t.Errorf("the poll was answered %d %q", a.status, a.body)
		}
		c.send("4hello")
		c.gets("4hello")
	}
}

// Node's server completes the handshake, then closes.
func TestASecondWebSocketIsClosed(t *testing.T) {
	srv := serve(t, config(), app{})
	client := srv.openPolling()
	c := client.probe()
	srv.websocket(client.SID).ends() // while the first one is probing
	c.send("5")
	c.send("4hello")
	c.gets("4hello")
	srv.websocket(client.SID).ends() // already upgraded

	direct := srv.dial()
	srv.websocket(direct.SID).ends()
	for _, c := range []*socket{c, direct} {
		c.send("4hello")
		c.gets("4hello")
	}
}

func TestAWebSocketThatDoesNotUpgradeLeavesPollingAsItWas(t *testing.T) {
	srv := serve(t, config(), app{})
	for name, frames := range map[string][]byte{
		"nothing":            nil,
		"a message":          text("4hello"),
		"another probe":      text("2"),
		"a longer probe":     text("2probe2"),
		"an early upgrade":   text("5"),
		"a binary probe":     masked(ws.NewBinaryFrame([]byte("2probe"))),
		"an unmasked probe":  ws.MustCompileFrame(ws.NewTextFrame([]byte("2probe"))),
		"a close frame":      masked(ws.NewCloseFrame(nil)),
		"garbage":            []byte("GET / HTTP/1.1\r\n\r\n"),
		"a huge frame":       rawFrame(fin|1, 1<<62, ""),
		"two probes":         joined(text("2probe"), text("2probe")),
		"a probe, a message": joined(text("2probe"), text("4hello")),
		"half an upgrade":    joined(text("2probe"), rawFrame(1, 0, "")),
	} {
		t.Run(name, func(t *testing.T) {
			client := srv.openPolling()
			p := srv.peer(client.SID)
			c := srv.websocket(client.SID, frames...)
			c.t = t
			if name == "nothing" || name == "half an upgrade" {
				c.conn.Close()
			}
			c.ends()
			eventually(t, "the probe has ended", func() bool { return !p.Upgrading() })
			for range 3 {
				client.posts("4hello", 200)
				client.gets(200, "4hello")
			}
			client.upgrade() // it can try again
		})
	}
}

func TestAPollEndsInTimeWhileAWebSocketIsProbed(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		t := b.t
		p := b.openPolling()
		waits := make(chan answer)
		poll := func() {
			status, body := b.do(http.MethodGet, p.ID(), "")
			waits <- answer{status, body}
		}
		began := time.Now()
		go poll()
		time.Sleep(time.Second)
		c := b.websocket(p.ID())
		c.send("2probe")
		c.gets("3probe")
		if a := <-waits; a.status != 200 || a.body != "6" {
			t.Errorf("the poll was answered %d %q", a.status, a.body)
		}
		passed(t, began, time.Second)

		for range 3 { // from a client that keeps polling
			began = time.Now()
			go poll()
			if a := <-waits; a.status != 200 || a.body != "6" {
				t.Errorf("a poll while probing was answered %d %q", a.status, a.body)
			}
			passed(t, began, 50*time.Millisecond)
		}
		c.send("5")
		c.send("4hello")
		c.gets("4hello")
	})
}

func TestAnUpgradeThatIsNotFinishedInTimeIsGivenUp(t *testing.T) {
	cfg := beating()
	cfg.UpgradeTimeout = 10 * time.Second
	inBubble(t, cfg, func(b *bubble) {
		t := b.t
		for _, probe := range []bool{false, true} {
			p := b.openPolling()
			began := time.Now()
			c := b.websocket(p.ID())
			if probe {
				c.send("2probe")
				c.gets("3probe")
			}
			c.drained()
			passed(t, began, 10*time.Second)
			b.posts(p, "4hello")
			b.gets(p, 200, "4hello")
			b.gets(p, 200, "2") // polls wait again
			passed(t, began, 25*time.Second)

			c = b.websocket(p.ID())
			c.send("2probe")
			c.gets("3probe")
			c.send("5")
			time.Sleep(11 * time.Second) // no longer a limit
			c.send("4hello")
			c.gets("4hello")
		}
	})
}

func TestTheHeartbeatGoesOnOverAnUpgrade(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		t := b.t
		p := b.openPolling()
		time.Sleep(24 * time.Second)
		c := b.websocket(p.ID())
		c.send("2probe")
		c.gets("3probe")
		time.Sleep(2 * time.Second) // the ping is due on polling
		c.send("5")
		c.gets("2")
		c.send("3")
		began := time.Now()
		c.gets("2")
		passed(t, began, 25*time.Second)
		c.drained()
		passed(t, began, 45*time.Second)
		p.endsWith(engineio.PingTimeout)
	})
}

func TestCloseWhileAWebSocketIsProbed(t *testing.T) {
	srv := serve(t, config(), app{})
	t.Run("before the probe", func(t *testing.T) {
		client := srv.openPolling()
		p := srv.peer(client.SID)
		waits := client.pending()
		c := srv.websocket(client.SID)
		eventually(t, "the websocket is known", p.Upgrading)
		p.Close("test")
		is(t, waits, 200, "1")
		c.ends()
		p.endsWith("test")
	})
	t.Run("and the client polls on", func(t *testing.T) {
		client := srv.openPolling()
		p := srv.peer(client.SID)
		c := client.probe()
		p.Send(engineio.TextPacket([]byte("last")))
		p.Close("test")
		client.gets(200, "4last")
		client.gets(200, "1")
		c.ends()
		p.endsWith("test")
	})
	t.Run("and the client moves", func(t *testing.T) {
		client := srv.openPolling()
		p := srv.peer(client.SID)
		c := client.probe()
		p.Send(engineio.TextPacket([]byte("last")))
		p.Close(engineio.ServerShutdown)
		c.send("5")
		c.gets("4last")
		c.closes(ws.StatusGoingAway)
		p.endsWith(engineio.ServerShutdown)
	})
	t.Run("abort", func(t *testing.T) {
		client := srv.openPolling()
		p := srv.peer(client.SID)
		c := client.probe()
		p.Abort("test")
		c.ends()
		p.endsWith("test")
	})
	t.Run("the client closes by POST", func(t *testing.T) {
		client := srv.openPolling()
		p := srv.peer(client.SID)
		c := client.probe()
		client.posts("1", 200)
		c.ends()
		p.endsWith(engineio.TransportClose)
	})
}
