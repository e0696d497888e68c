package engineio_test

import (
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

func TestClientClosesItsWebSocket(t *testing.T) {
	srv := serve(t, config(), app{})
	for name, test := range map[string]struct {
		farewell []byte
		answer   ws.StatusCode
	}{
		"close packet":            {text("1"), ws.StatusNormalClosure},
		"close frame":             {masked(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusGoingAway, "bye"))), ws.StatusGoingAway},
		"close frame, own code":   {masked(ws.NewCloseFrame(ws.NewCloseFrameBody(4001, ""))), 4001},
		"close frame, no code":    {masked(ws.NewCloseFrame(nil)), ws.StatusNoStatusRcvd},
		"close packet and frame":  {append(text("1"), masked(ws.NewCloseFrame(nil))...), ws.StatusNormalClosure},
		"close packet, then more": {append(text("1"), text("4not heard")...), ws.StatusNormalClosure},
	} {
		t.Run(name, func(t *testing.T) {
			c := srv.dial()
			p := srv.peer(c.SID)
			c.send("4first")
			c.write(test.farewell)
			c.gets("4first")
			c.closes(test.answer)
			p.endsWith(engineio.TransportClose)
		})
	}
}

func TestClientDropsItsConnection(t *testing.T) {
	for proto, srv := range map[string]*server{
		"plain": serve(t, config(), app{}),
		"TLS":   serveTLS(t, config(), app{}),
	} {
		t.Run(proto, func(t *testing.T) {
			c := srv.dial()
			p := srv.peer(c.SID)
			c.conn.Close()
			p.endsWith(engineio.TransportClose)

			c = srv.dial()
			p = srv.peer(c.SID)
			c.write(text("4half a frame")[:9])
			c.conn.Close()
			p.endsWith(engineio.TransportClose)
		})
	}
}

func TestCloseSendsWhatIsQueuedFirst(t *testing.T) {
	srv := serve(t, config(), app{})
	sendAndClose := func(p *peer, reason engineio.Reason) {
		for range 1000 {
			p.Send(engineio.TextPacket(fill(500)))
		}
		p.Send(engineio.TextPacket([]byte("last")))
		p.Close(reason)
		if p.Send(engineio.TextPacket([]byte("too late"))) {
			t.Error("Send is true after Close")
		}
	}
	want := "4" + string(fill(500))
	for reason, code := range map[engineio.Reason]ws.StatusCode{
		engineio.ForcedClose:    ws.StatusNormalClosure,
		engineio.ServerShutdown: ws.StatusGoingAway,
	} {
		t.Run("websocket, "+string(reason), func(t *testing.T) {
			c := srv.dial()
			p := srv.peer(c.SID)
			sendAndClose(p, reason)
			for range 1000 {
				c.gets(want)
			}
			c.gets("4last")
			c.closes(code)
			p.endsWith(reason)
		})
	}
	t.Run("polling", func(t *testing.T) {
		client := srv.openPolling()
		p := srv.peer(client.SID)
		sendAndClose(p, "test")
		_, body := client.get()
		if packets := parts(body); len(packets) != 1001 || packets[0] != want || packets[1000] != "4last" {
			t.Errorf("%d packets, the last is %q", len(packets), packets[len(packets)-1])
		}
		client.gets(200, "1")
		p.endsWith("test")
		client.gets(400, "")
	})
	t.Run("poll that waits", func(t *testing.T) {
		client := srv.openPolling()
		p := srv.peer(client.SID)
		answers := client.pending()
		p.Close("test")
		is(t, answers, 200, "1")
		p.endsWith("test")
	})
}

func TestAbortEndsAtOnce(t *testing.T) {
	srv := serve(t, config(), app{})
	c := srv.dial()
	p := srv.peer(c.SID)
	p.Abort("test")
	p.Close("too late")
	p.endsWith("test")
	c.ends()

	client := srv.openPolling()
	p = srv.peer(client.SID)
	answers := client.pending()
	p.Abort("test")
	p.endsWith("test")
	is(t, answers, 200, "1")
	client.posts("4too late", 400)
}

// The client is still listening, and must learn that nothing more will arrive.
func TestClientClosesItsPolling(t *testing.T) {
	srv := serve(t, config(), app{})
	t.Run("while a poll waits", func(t *testing.T) {
		client := srv.openPolling()
		p := srv.peer(client.SID)
		answers := client.pending()
		client.posts("1", 200)
		is(t, answers, 200, "6")
		p.endsWith(engineio.TransportClose)
		client.gets(400, "")
	})
	t.Run("between polls", func(t *testing.T) {
		client := srv.openPolling()
		p := srv.peer(client.SID)
		client.posts("4not read\x1e1\x1e4not heard", 200)
		p.endsWith(engineio.TransportClose)
		client.gets(200, "6")
		client.gets(400, "")
	})
	if n := len(srv.Sessions()); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// Do not wait for a client that does not answer a close frame.
func TestCloseDoesNotWaitForEver(t *testing.T) {
	for proto, srv := range map[string]*server{
		"plain": serve(t, config(), app{}),
		"TLS":   serveTLS(t, config(), app{}),
	} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			silent, chatty := srv.dial(), srv.dial()
			ps, pc := srv.peer(silent.SID), srv.peer(chatty.SID)
			ps.Close("test")
			pc.Close("test")
			go func() {
				for {
					if _, err := chatty.conn.Write(text("4hello")); err != nil {
						return
					}
				}
			}()
			ps.endsWith("test")
			pc.endsWith("test")
		})
	}
}

func TestServerCloseLeavesNothing(t *testing.T) {
	srv := serve(t, config(), app{})
	websocket, polling, waiting, upgraded, probing := srv.dial(), srv.openPolling(), srv.openPolling(), srv.openPolling(), srv.openPolling()
	answers := waiting.pending()
	moved := upgraded.upgrade()
	probe := probing.probe()
	silent := srv.websocket(polling.SID) // does not even send a probe
	var peers []*peer
	for _, sid := range []string{websocket.SID, polling.SID, waiting.SID, upgraded.SID, probing.SID} {
		peers = append(peers, srv.peer(sid))
	}

	began := time.Now()
	srv.Close()
	if took := time.Since(began); took > patience/2 {
		t.Errorf("Close took %v", took)
	}
	is(t, answers, 200, "1")
	for _, c := range []*socket{websocket, moved, probe, silent} {
		c.ends()
	}
	for _, p := range peers {
		p.endsWith(engineio.ServerShutdown)
	}
	if n := len(srv.Sessions()); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	srv.Close() // a second time
}

// An HTTP server that is about to stop cannot wait for polls.
func TestEndingEndsPollsWithANoop(t *testing.T) {
	srv := serve(t, config(), app{})
	client, full := srv.openPolling(), srv.openPolling()
	answers := client.pending()
	close(srv.ending)
	is(t, answers, 200, "6")
	client.gets(200, "6")

	srv.peer(full.SID).Send(engineio.TextPacket([]byte("queued")))
	full.gets(200, "4queued")
	if n := srv.Len(); n != 2 {
		t.Errorf("%d sessions are open, not 2", n)
	}
}
