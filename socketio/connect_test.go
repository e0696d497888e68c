package socketio_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

func TestConnectIsAnsweredWithTheSocketsID(t *testing.T) {
	sockets := make(chan *socketio.Socket, 1)
	c := serve(t, app{accept: func(s *socketio.Socket) { sockets <- s }}).dial()
	c.send("40")
	id := c.wantConnected()
	s := receive(t, sockets)
	if s.ID() != id || s.Session().ID() != c.sid {
		t.Errorf("socket %q of session %q, want %q of %q", s.ID(), s.Session().ID(), id, c.sid)
	}
	if id == c.sid {
		t.Error("the socket's id, which is public, is the session's, which is a secret")
	}
}

func TestAuthReachesTheHandlerByteForByte(t *testing.T) {
	got := make(chan json.RawMessage, 1)
	srv := serve(t, app{connect: func(_ *socketio.Socket, auth json.RawMessage) error {
		got <- auth
		return nil
	}})
	for packet, want := range map[string]string{
		`40`:           "",
		`40null`:       "",
		`40/,`:         "",
		`40{}`:         `{}`,
		`40/,{"a":1}`:  `{"a":1}`,
		`40 {"a": 1} `: `{"a": 1}`,
		`40{"z":1,"a":12345678901234567890.10,"u":"\u00e9é\ud83d\ude00"}`: `{"z":1,"a":12345678901234567890.10,"u":"\u00e9é\ud83d\ude00"}`,
	} {
		c := srv.dial()
		c.send(packet)
		c.wantConnected()
		auth := receive(t, got)
		if string(auth) != want || (auth == nil) != (want == "") {
			t.Errorf("%s: auth %q, want %q", packet, auth, want)
		}
	}
}

func TestAuthThatIsNoObjectIsRefusedWithAReason(t *testing.T) {
	srv := serve(t, app{accept: func(*socketio.Socket) { t.Error("a socket was made") }})
	for _, auth := range []string{`"token"`, `["token"]`, `7`, `-7`, `1{}`, `true`} {
		c := srv.dial()
		c.send("40" + auth)
		var answer struct {
			Message string
			Data    struct{ Code, Message string }
		}
		m := c.next()
		if !strings.HasPrefix(m, "44") || json.Unmarshal([]byte(m[2:]), &answer) != nil ||
			answer.Message == "" || answer.Data.Code != "invalid_request" || answer.Data.Message != answer.Message {
			t.Errorf("%s: got %q", auth, m)
		}
	}
}

func TestRefusalCarriesMessageAndData(t *testing.T) {
	refusal := &socketio.Refusal{Message: "No <such> app.", Data: map[string]string{"code": "unknown_app"}}
	for _, c := range []struct {
		err  error
		want string
	}{
		{refusal, `44{"message":"No <such> app.","data":{"code":"unknown_app"}}`},
		{fmt.Errorf("connecting: %w", refusal), `44{"message":"connecting: No <such> app.","data":{"code":"unknown_app"}}`},
		{&socketio.Refusal{Message: "No."}, `44{"message":"No."}`},
		{&socketio.Refusal{Message: "No.", Data: func() {}}, `44{"message":"No."}`},
		{errors.New("not now"), `44{"message":"not now"}`},
	} {
		client := serve(t, app{
			connect:    func(*socketio.Socket, json.RawMessage) error { return c.err },
			connected:  func(*socketio.Socket) { t.Error("a refused socket was welcomed") },
			disconnect: func(*socketio.Socket, string) { t.Error("a refused socket was disconnected") },
		}).dial()
		client.send("40")
		client.want(c.want)
	}
}

func TestRefusedClientMayTryAgain(t *testing.T) {
	srv := serve(t, app{connect: func(_ *socketio.Socket, auth json.RawMessage) error {
		if auth == nil {
			return errors.New("who is it?")
		}
		return nil
	}})
	c := srv.dial()
	c.send("40", `40"me"`, `40{}`)
	c.want(`44{"message":"who is it?"}`)
	if m := c.next(); !strings.HasPrefix(m, "44") {
		t.Fatalf("got %q", m)
	}
	c.wantConnected()
	c.wantAlive()
}

func TestOtherNamespacesAreRefused(t *testing.T) {
	srv := serve(t, app{})
	c := srv.dial()
	for range 2 { // before and after CONNECT
		c.send("40/random", `40/admin?token=1,{"a":1}`)
		c.want(`44/random,{"message":"Invalid namespace"}`, `44/admin?token=1,{"message":"Invalid namespace"}`)
		c.send("40")
		if m := c.next(); !strings.HasPrefix(m, "40") {
			t.Fatalf("got %q", m)
		}
		c.wantAlive()
		c.send("41")
	}
}

func TestPacketForAnotherNamespaceClosesTheSession(t *testing.T) {
	srv := serve(t, app{})
	for _, packet := range []string{`42/random,["a"]`, `41/random`, `43/random,1[]`, `451-/random,["a"]`} {
		c := srv.connect()
		c.send(packet)
		c.wantClosed()
	}
}

func TestOnlyOneConnectPerSession(t *testing.T) {
	accepted := make(chan *socketio.Socket, 500)
	disconnected := make(chan string, 500)
	srv := serve(t, app{
		accept:     func(s *socketio.Socket) { accepted <- s },
		disconnect: func(_ *socketio.Socket, reason string) { disconnected <- reason },
	})
	c := srv.dial()
	packets := make([]string, 500)
	for i := range packets {
		packets[i] = "40"
	}
	c.send(packets...)
	c.wantConnected()
	c.wantClosed()
	if reason := receive(t, disconnected); reason != "forced close" {
		t.Errorf("reason %q", reason)
	}
	receive(t, accepted)
	wantNone(t, accepted)
	wantNone(t, disconnected)
}

func TestPacketBeforeConnectClosesTheSession(t *testing.T) {
	srv := serve(t, app{event: func(*socketio.Socket, *socketio.Event) { t.Error("an event was let through") }})
	for _, packet := range []string{`42["a"]`, `41`, `431[]`, `451-["a",{"_placeholder":true,"num":0}]`} {
		c := srv.dial()
		c.send(packet, "40")
		c.wantClosed()
	}
}

func TestSessionWithoutConnectIsClosed(t *testing.T) {
	srv := serve(t, app{
		connectTimeout: 100 * time.Millisecond,
		connect: func(_ *socketio.Socket, auth json.RawMessage) error {
			if auth != nil {
				return errors.New("no")
			}
			return nil
		},
	})
	connected := srv.connect()
	refused := srv.dial()
	refused.send(`40{}`)
	silent := srv.dial()
	refused.want(`44{"message":"no"}`, "41")
	refused.wantClosed()
	silent.wantClosed()
	connected.wantAlive()

	connected.send("41")
	connected.wantClosed()
}

// socket.io-client before 4.4 keeps the connection after a refusal, and
// reconnects if it is merely closed.
func TestRefusedClientThatStaysIsToldNotToComeBack(t *testing.T) {
	refuse := func(_ *socketio.Socket, auth json.RawMessage) error {
		if string(auth) == "{}" {
			return errors.New("no")
		}
		return nil
	}
	srv := serve(t, app{connectTimeout: 500 * time.Millisecond, connect: refuse})

	p := srv.openPolling()
	p.post("40{}")
	for _, want := range []string{`44{"message":"no"}`, "41", "1"} {
		if got := p.get(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}

	// A client was refused, then admitted, and left: its last CONNECT was not
	// refused.
	c := srv.dial()
	c.send("40{}", "40")
	c.want(`44{"message":"no"}`)
	c.wantConnected()
	c.wantAlive()
	c.send("41")
	c.wantClosed()
}

func TestTimeoutRunsOnWhileTheApplicationDecides(t *testing.T) {
	closed := make(chan struct{})
	reasons := make(chan string, 2)
	srv := serve(t, app{
		connectTimeout: 50 * time.Millisecond,
		connect: func(*socketio.Socket, json.RawMessage) error {
			<-closed
			return nil
		},
		disconnect: func(_ *socketio.Socket, reason string) { reasons <- reason },
	})
	c := srv.dial()
	c.send("40")
	c.wantClosed()
	close(closed)
	if reason := receive(t, reasons); reason != string(socketio.ConnectTimeout) {
		t.Errorf("reason %q", reason)
	}
	srv.close()
	wantNone(t, reasons)
}

func TestConnectWithinTheTimeoutAfterDisconnect(t *testing.T) {
	srv := serve(t, app{connectTimeout: 500 * time.Millisecond})
	c := srv.connect()
	for range 3 {
		c.send("41", "40")
		c.wantConnected()
	}
	srv.dial().wantClosed() // by now all of the timeouts above would have fired
	c.wantAlive()
}

// A server that starts to read before it has wired up the reader loses a
// CONNECT that arrives with the handshake: 25 of 10,000 in the Go library.
func TestConnectPipelinedWithTheHandshakeIsNeverLost(t *testing.T) {
	srv := serve(t, app{connected: func(s *socketio.Socket) { _ = s.Emit("welcome") }})
	address := srv.http.Listener.Addr().String()
	request := "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: " + address + "\r\n" +
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 40 {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				message := frames("40", `421["early",1]`)
				if (worker+i)%2 == 0 { // in one write, or in two in quick succession
					_, err = io.WriteString(conn, request+string(message))
				} else if _, err = io.WriteString(conn, request); err == nil {
					_, err = conn.Write(message)
				}
				if err != nil {
					t.Error(err)
				}
				_ = conn.SetReadDeadline(time.Now().Add(patience))
				in := bufio.NewReader(conn)
				if _, err := http.ReadResponse(in, nil); err != nil {
					t.Error(err)
				}
				c := &client{t: t, conn: conn, in: in}
				got := []string{}
				for range 4 {
					m, err := c.read()
					if err != nil {
						t.Errorf("after %q: %v", got, err)
						break
					}
					got = append(got, m)
				}
				if len(got) == 4 && (!strings.HasPrefix(got[1], "40{") || got[2] != `42["welcome"]` || got[3] != `431[1]`) {
					t.Errorf("got %q", got)
				}
				conn.Close()
			}
		})
	}
	all.Wait()
}

func TestLongPollingClientConnectsAndEmits(t *testing.T) {
	srv := serve(t, app{})
	p := srv.openPolling()
	p.post("40")
	connectedID(t, p.get())
	p.post("421[\"a\",1]\x1e422[\"b\",2]")
	if got := p.get(); got != "431[1]\x1e432[2]" {
		t.Errorf("got %q", got)
	}
}

func TestUnknownNamespacesAreBoundedUntilTheClientIsConnected(t *testing.T) {
	srv := serve(t, app{})
	c := srv.dial()
	for range 50 {
		c.send("40/a,")
		c.want(`44/a,{"message":"Invalid namespace"}`)
	}
	c.send("40/a,")
	c.wantClosed()
	c = srv.connect()
	for range 100 {
		c.send("40/a,")
		c.want(`44/a,{"message":"Invalid namespace"}`)
	}
	c.wantAlive()
}
