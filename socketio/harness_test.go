package socketio_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// patience is how long a test waits for something that must happen. It runs out
// only in a test that fails.
const patience = 20 * time.Second

// app is an application made of functions; those that are nil do nothing.
type app struct {
	accept     func(*socketio.Socket)
	connect    func(*socketio.Socket, json.RawMessage) error
	connected  func(*socketio.Socket)
	event      func(*socketio.Socket, *socketio.Event)
	rest       func(*socketio.Event) func(context.Context) // if it returns nil, event is called
	disconnect func(*socketio.Socket, string)
	screen     func(*socketio.Event) error // makes the handler a Screener

	manually       bool // the harness does not acknowledge events
	connectTimeout time.Duration
	maxConnecting  int
	logger         *zap.Logger
}

// handler is an app for one socket.
type handler struct {
	app    *app
	socket *socketio.Socket
}

func (h *handler) Connect(auth json.RawMessage) error {
	if h.app.connect == nil {
		return nil
	}
	return h.app.connect(h.socket, auth)
}

func (h *handler) Connected() {
	if h.app.connected != nil {
		h.app.connected(h.socket)
	}
}

// Event acknowledges with the arguments, so that a client can tell that
// everything it sent before was handled.
func (h *handler) Event(e *socketio.Event) func(context.Context) {
	if h.app.rest != nil {
		if rest := h.app.rest(e); rest != nil {
			return rest
		}
	}
	if h.app.event != nil {
		h.app.event(h.socket, e)
	}
	if !h.app.manually {
		e.Ack(e.Values()...)
	}
	return nil
}

func (h *handler) Disconnect(reason string) {
	if h.app.disconnect != nil {
		h.app.disconnect(h.socket, reason)
	}
}

// screener is a handler that refuses some events.
type screener struct{ *handler }

func (s *screener) Screen(e *socketio.Event) error { return s.app.screen(e) }

var (
	_ socketio.Handler  = (*handler)(nil)
	_ socketio.Welcomer = (*handler)(nil)
	_ socketio.Screener = (*screener)(nil)
)

// server is a real server, over HTTP.
type server struct {
	t       *testing.T
	http    *httptest.Server
	sockets *socketio.Server
	engine  *engineio.Server
	close   func() // ends all sessions and waits for them
}

func serve(t *testing.T, a app) *server {
	t.Helper()
	if a.connectTimeout == 0 {
		a.connectTimeout = patience
	}
	sockets := socketio.NewServer(socketio.Config{ConnectTimeout: a.connectTimeout, MaxConnecting: a.maxConnecting, Logger: a.logger},
		func(s *socketio.Socket) socketio.Handler {
			if a.accept != nil {
				a.accept(s)
			}
			h := &handler{app: &a, socket: s}
			if a.screen != nil {
				return &screener{h}
			}
			return h
		})
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
	srv := &server{t: t, http: httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		engine.Serve(w, r, engineio.Exchange{})
	})), sockets: sockets, engine: engine, close: sync.OnceFunc(func() { engine.Close(); sockets.Wait() })}
	t.Cleanup(func() {
		srv.close()
		srv.http.Close()
	})
	return srv
}

// client is a websocket that knows nothing of Socket.IO.
type client struct {
	t    *testing.T
	conn net.Conn
	in   io.Reader
	sid  string // the session's
}

// dial opens a session, without CONNECT.
func (s *server) dial() *client {
	s.t.Helper()
	c := s.dialWebSocket("")
	c.readOpen()
	return c
}

// dialWebSocket only opens a websocket.
func (s *server) dialWebSocket(query string) *client {
	s.t.Helper()
	url := strings.Replace(s.http.URL, "http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket" + query
	conn, buffered, _, err := ws.Dial(s.t.Context(), url)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	c := &client{t: s.t, conn: conn, in: conn}
	if buffered != nil { // bytes that came with the handshake's answer
		c.in = buffered
	}
	return c
}

// connect opens a session with a connected socket.
func (s *server) connect() *client {
	s.t.Helper()
	c := s.dial()
	c.send("40")
	c.wantConnected()
	return c
}

func (c *client) readOpen() {
	c.t.Helper()
	var open struct{ SID string }
	if m := c.next(); !strings.HasPrefix(m, "0") || json.Unmarshal([]byte(m[1:]), &open) != nil {
		c.t.Fatalf("no handshake: %q", m)
	}
	c.sid = open.SID
}

// frames encodes texts as a client sends them; binary ones begin with "b".
func frames(messages ...string) []byte {
	var b bytes.Buffer
	for _, m := range messages {
		frame := ws.NewTextFrame([]byte(m))
		if data, ok := strings.CutPrefix(m, "b"); ok {
			frame = ws.NewBinaryFrame([]byte(data))
		}
		_ = ws.WriteFrame(&b, ws.MaskFrameInPlace(frame)) // a write to a buffer cannot fail
	}
	return b.Bytes()
}

// send writes messages in one write, so that they arrive together.
func (c *client) send(messages ...string) {
	c.t.Helper()
	if _, err := c.conn.Write(frames(messages...)); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next message; a binary one begins with "b".
func (c *client) next() string {
	c.t.Helper()
	m, err := c.read()
	if err != nil {
		c.t.Fatalf("connection ended: %v", err)
	}
	return m
}

func (c *client) read() (string, error) {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	data, op, err := wsutil.ReadServerData(struct {
		io.Reader
		io.Writer
	}{c.in, c.conn})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("nothing came")
	}
	if op == ws.OpBinary {
		return "b" + string(data), err
	}
	return string(data), err
}

func (c *client) want(messages ...string) {
	c.t.Helper()
	for _, want := range messages {
		if got := c.next(); got != want {
			c.t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// wantConnected reads the answer to a CONNECT and returns the socket's id.
func (c *client) wantConnected() string {
	c.t.Helper()
	return connectedID(c.t, c.next())
}

func connectedID(t *testing.T, m string) string {
	t.Helper()
	var answer map[string]string
	if !strings.HasPrefix(m, "40") || json.Unmarshal([]byte(m[2:]), &answer) != nil || len(answer) != 1 || answer["sid"] == "" {
		t.Fatalf("got %q, want 40 and a sid", m)
	}
	return answer["sid"]
}

// wantAlive checks that the socket is connected, that everything sent before
// was handled, and that nothing is on its way to the client.
func (c *client) wantAlive() {
	c.t.Helper()
	c.send(`427["alive"]`)
	c.want(`437[]`)
}

// wantClosed fails if anything arrives before the end of the connection. It
// then closes this side, too.
func (c *client) wantClosed() {
	c.t.Helper()
	if m, err := c.read(); err == nil {
		c.t.Fatalf("got %q, want the end of the connection", m)
	}
	c.conn.Close()
}

// receive waits for a handler's report.
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

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// wantNone fails if a handler has reported something.
func wantNone[T any](t *testing.T, from <-chan T) {
	t.Helper()
	select {
	case v := <-from:
		t.Fatalf("got %v, want nothing", v)
	default:
	}
}
