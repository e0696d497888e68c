package socketio_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

func TestSessionOutlivesTheClientsDisconnect(t *testing.T) {
	sockets := make(chan *socketio.Socket, 2)
	reasons := make(chan string, 2)
	c := serve(t, app{
		accept:     func(s *socketio.Socket) { sockets <- s },
		disconnect: func(_ *socketio.Socket, reason string) { reasons <- reason },
	}).connect()
	first := receive(t, sockets)
	c.send("41", "40")
	c.wantConnected()
	second := receive(t, sockets)
	if reason := receive(t, reasons); reason != "client namespace disconnect" {
		t.Errorf("reason %q", reason)
	}
	if first == second || first.ID() == second.ID() {
		t.Error("the new CONNECT got the old socket")
	}
	if first.Send(socketio.EventPacket("old", nil)) || !errors.Is(first.Emit("old"), socketio.ErrNotConnected) {
		t.Error("the old socket still sends")
	}
	first.Disconnect("late")
	c.wantAlive()
	wantNone(t, reasons)
}

func TestLateAckDoesNotReachTheNextSocket(t *testing.T) {
	kept := make(chan *socketio.Event, 1)
	c := serve(t, app{
		event:    func(_ *socketio.Socket, e *socketio.Event) { kept <- e },
		manually: true,
	}).connect()
	c.send(`421["slow"]`)
	e := receive(t, kept)
	c.send("41", "40")
	c.wantConnected()
	e.Ack("late")
	c.send(`422["next"]`)
	receive(t, kept).Ack("in time")
	c.want(`432["in time"]`)
}

func TestServersDisconnectTellsTheClientFirst(t *testing.T) {
	for _, transport := range []string{"websocket", "polling"} {
		t.Run(transport, func(t *testing.T) {
			reasons := make(chan string, 2)
			srv := serve(t, app{
				event: func(s *socketio.Socket, _ *socketio.Event) {
					for i := range 100 {
						s.Send(socketio.EventPacket("n", json.RawMessage(fmt.Sprint(i))))
					}
					s.Disconnect("key revoked")
					s.Disconnect("once more")
					if s.Send(socketio.EventPacket("late", nil)) || !errors.Is(s.Emit("late"), socketio.ErrNotConnected) {
						t.Error("events were accepted after the disconnect")
					}
				},
				disconnect: func(_ *socketio.Socket, reason string) { reasons <- reason },
			})
			want := make([]string, 0, 101)
			for i := range 100 {
				want = append(want, fmt.Sprintf(`42["n",%d]`, i))
			}
			want = append(want, "41")
			if transport == "websocket" {
				c := srv.connect()
				c.send(`42["go"]`, `42["dropped"]`, "40", "garbage")
				c.want(want...)
				c.wantClosed()
			} else {
				p := srv.openPolling()
				p.post("40")
				p.get()
				p.post(`42["go"]`)
				got := []string{}
				for len(got) < len(want) {
					got = append(got, strings.Split(p.get(), "\x1e")...)
				}
				// The close arrives in a separate payload: the stock client
				// acts on it before it looks at the messages beside it, and
				// would report a transport close and reconnect.
				if strings.Join(got, " ") != strings.Join(want, " ") {
					t.Errorf("got %q", got)
				}
				if m := p.get(); m != "1" {
					t.Errorf("got %q, want a close", m)
				}
			}
			if reason := receive(t, reasons); reason != "key revoked" {
				t.Errorf("reason %q", reason)
			}
			wantNone(t, reasons)
		})
	}
}

// Once its probe is answered, a client stops polling, so whatever is left to
// send must reach it over the websocket.
func TestServersDisconnectDuringAnUpgrade(t *testing.T) {
	sockets := make(chan *socketio.Socket, 1)
	srv := serve(t, app{connected: func(s *socketio.Socket) { sockets <- s }})
	p := srv.openPolling()
	p.post("40")
	connectedID(t, p.get())
	c := srv.dialWebSocket("&sid=" + p.sid)
	c.send("2probe")
	c.want("3probe")
	s := receive(t, sockets)
	s.Send(socketio.EventPacket("last", nil))
	s.Disconnect("key revoked")
	c.send("5")
	c.want(`42["last"]`, "41")
	c.wantClosed()
}

func TestDisconnectDuringConnect(t *testing.T) {
	reasons := make(chan string, 2)
	c := serve(t, app{
		connect: func(s *socketio.Socket, _ json.RawMessage) error {
			if s.Send(socketio.EventPacket("early", nil)) || !errors.Is(s.Emit("early"), socketio.ErrNotConnected) {
				t.Error("events were accepted before the CONNECT's answer")
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				s.Disconnect("key revoked")
			}()
			<-done
			return nil
		},
		connected:  func(*socketio.Socket) { t.Error("welcomed") },
		event:      func(*socketio.Socket, *socketio.Event) { t.Error("an event was let through") },
		disconnect: func(_ *socketio.Socket, reason string) { reasons <- reason },
	}).dial()
	c.send("40", `42["a"]`)
	c.wantConnected()
	c.want("41")
	c.wantClosed()
	if reason := receive(t, reasons); reason != "key revoked" {
		t.Errorf("reason %q", reason)
	}
	wantNone(t, reasons)
}

func TestDisconnectDuringConnectThatIsRefused(t *testing.T) {
	c := serve(t, app{
		connect: func(s *socketio.Socket, _ json.RawMessage) error {
			s.Disconnect("key revoked")
			return errors.New("no")
		},
		disconnect: func(*socketio.Socket, string) { t.Error("a refused socket was disconnected") },
	}).dial()
	c.send("40")
	c.want(`44{"message":"no"}`)
	c.wantClosed()
}

func TestEndOfTheSessionEndsTheSocket(t *testing.T) {
	for want, end := range map[string]func(*server, *client){
		"transport close":      func(_ *server, c *client) { c.conn.Close() },
		"server shutting down": func(s *server, _ *client) { s.close() },
		"parse error":          func(_ *server, c *client) { c.send("42{}"); c.wantClosed() },
		"forced close":         func(_ *server, c *client) { c.send("40"); c.wantClosed() },
	} {
		t.Run(want, func(t *testing.T) {
			reasons := make(chan string, 2)
			srv := serve(t, app{disconnect: func(_ *socketio.Socket, reason string) { reasons <- reason }})
			end(srv, srv.connect())
			if reason := receive(t, reasons); reason != want {
				t.Errorf("reason %q", reason)
			}
			srv.close()
			wantNone(t, reasons)
		})
	}
}

// A stock client that disconnects sends 41 and closes at once. In the Go
// library, the application is then sometimes told twice.
func TestDisconnectIsToldOnceWhateverRaces(t *testing.T) {
	const clients = 200
	var told [clients]atomic.Int32
	var numbers sync.Map // *socketio.Socket to index
	var next atomic.Int32
	done := make(chan struct{}, 2*clients)
	srv := serve(t, app{
		connect: func(s *socketio.Socket, _ json.RawMessage) error {
			numbers.Store(s, next.Add(1)-1)
			return nil
		},
		connected: func(s *socketio.Socket) {
			go func() { // the hub, and an administrator
				for s.Send(socketio.EventPacket("tick", nil)) {
				}
			}()
			if n, _ := numbers.Load(s); n.(int32)%3 == 0 {
				go s.Disconnect("kicked")
			}
		},
		disconnect: func(s *socketio.Socket, _ string) {
			n, _ := numbers.Load(s)
			told[n.(int32)].Add(1)
			done <- struct{}{}
		},
	})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range clients / 8 {
				c := srv.dial()
				_, _ = c.conn.Write(frames("40"))
				_, _ = c.read()
				_, _ = c.conn.Write(frames("41"))
				c.conn.Close()
			}
		})
	}
	all.Wait()
	for range clients {
		receive(t, done)
	}
	srv.close()
	for n := range told {
		if times := told[n].Load(); times != 1 {
			t.Errorf("socket %d was told %d times", n, times)
		}
	}
}

func TestEverythingAcceptedArrivesInOrderBeforeTheDisconnect(t *testing.T) {
	for range 20 {
		accepted := make(chan int, 1)
		c := serve(t, app{connected: func(s *socketio.Socket) {
			started := make(chan struct{})
			go func() {
				for n := 0; ; n++ {
					if n == 10 {
						close(started)
					}
					if !s.Send(socketio.EventPacket("n", json.RawMessage(fmt.Sprint(n)))) {
						accepted <- n
						return
					}
				}
			}()
			go func() {
				<-started
				s.Disconnect("enough")
			}()
		}}).connect()
		received := 0
		for m := c.next(); m != "41"; m = c.next() {
			if want := fmt.Sprintf(`42["n",%d]`, received); m != want {
				t.Fatalf("got %s, want %s", m, want)
			}
			received++
		}
		c.wantClosed()
		if n := receive(t, accepted); n != received {
			t.Fatalf("%d events were accepted, %d arrived", n, received)
		}
	}
}
