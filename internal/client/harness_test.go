package client_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/internal/client"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// patience is how long a test waits for something that has to happen. It
// elapses only in a failing test.
const patience = 20 * time.Second

// gateway defines how a real server behaves: who can connect, and how it
// handles an event (agree by default).
type gateway struct {
	connect       func(auth json.RawMessage) error
	event         func(*socketio.Socket, *socketio.Event)
	maxConnecting int
}

// handler returns a gateway for one socket.
type handler struct {
	gateway *gateway
	socket  *socketio.Socket
}

func (h *handler) Connect(auth json.RawMessage) error {
	if h.gateway.connect == nil {
		return nil
	}
	return h.gateway.connect(auth)
}

func (h *handler) Event(e *socketio.Event) func(context.Context) {
	h.gateway.event(h.socket, e)
	return nil
}

func (h *handler) Disconnect(string) {}

// agree answers a subscribe like the module.
func agree(s *socketio.Socket, e *socketio.Event) {
	answer := json.RawMessage(`{"channel":` + string(e.Args[0]) + `}`)
	s.Send(socketio.EventPacket("subscribed", answer))
	e.Ack(answer)
}

// server is a real server, over HTTP.
type server struct {
	*httptest.Server
	closeSockets func() // ends all sessions and waits for them
}

func serve(t *testing.T, g gateway) *server {
	t.Helper()
	if g.event == nil {
		g.event = agree
	}
	sockets := socketio.NewServer(socketio.Config{ConnectTimeout: patience, MaxConnecting: g.maxConnecting},
		func(s *socketio.Socket) socketio.Handler { return &handler{gateway: &g, socket: s} })
	engine := engineio.NewServer(engineio.Config{
		PingInterval:   time.Minute,
		PingTimeout:    time.Minute,
		MaxPayload:     1e6,
		MaxQueue:       16 << 20,
		WriteTimeout:   patience,
		UpgradeTimeout: patience,
		BodyTimeout:    patience,
		Logger:         zap.NewNop(),
	}, sockets.Open)
	srv := &server{httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		engine.Serve(w, r, engineio.Exchange{})
	})), sync.OnceFunc(engine.Close)}
	t.Cleanup(func() {
		srv.closeSockets()
		srv.Close()
	})
	return srv
}

func config(origin string) client.Config {
	return client.Config{Origin: origin, AppID: "app_1", SubscribeKey: "sub_live_1", Timeout: patience}
}

// dial connects, and closes the client when the test ends.
func dial(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.Dial(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func subscribe(t *testing.T, c *client.Client, channel string) {
	t.Helper()
	if _, err := c.Subscribe(within(t), channel, client.From{}); err != nil {
		t.Fatal(err)
	}
}

// want fails unless the next event is this one. "" means no data.
func want(t *testing.T, c *client.Client, name, data string) {
	t.Helper()
	e, err := c.Next(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if e.Name != name || string(e.Data) != data {
		t.Fatalf("got %q %s, want %q %s", e.Name, e.Data, name, data)
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing was reported")
		panic("unreachable")
	}
}

const (
	open     = `0{"sid":"s","upgrades":[],"pingInterval":60000,"pingTimeout":60000,"maxPayload":1000000}`
	accepted = `40{"sid":"t"}`
)

// rogue is a server that opens a websocket, and then does things that a gateway
// never does. It serves one client.
func rogue(t *testing.T, behave func(net.Conn)) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		behave(conn)
	}))
	t.Cleanup(srv.Close)
	return srv
}

// texts returns packets as a server's frames.
func texts(packets ...string) []byte {
	var frames []byte
	for _, p := range packets {
		frames = append(frames, ws.MustCompileFrame(ws.NewTextFrame([]byte(p)))...)
	}
	return frames
}

// readFrame reads one frame of a client; all of them are short.
func readFrame(conn net.Conn) (ws.OpCode, []byte, error) {
	header, err := ws.ReadHeader(conn)
	if err != nil {
		return 0, nil, err
	}
	payload := make([]byte, min(header.Length, 1024))
	_, err = io.ReadFull(conn, payload)
	ws.Cipher(payload, header.Mask, 0)
	return header.OpCode, payload, err
}

// drain reads until the client closes the connection.
func drain(conn net.Conn) {
	buffer := make([]byte, 1024)
	for {
		if _, err := conn.Read(buffer); err != nil {
			return
		}
	}
}
