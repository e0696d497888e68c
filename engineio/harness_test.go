package engineio_test

import (
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// patience is how long a test waits for something that must happen. It runs out
// only in a test that fails.
const patience = 20 * time.Second

// config never ends anything on its own within a test.
func config() engineio.Config {
	return engineio.Config{
		PingInterval:   time.Minute,
		PingTimeout:    time.Minute,
		MaxPayload:     1e6,
		MaxQueue:       16 << 20,
		WriteTimeout:   patience,
		UpgradeTimeout: patience,
		BodyTimeout:    patience,
		Logger:         zap.NewNop(),
	}
}

// app is an application made of functions. Without text and binary it echoes.
type app struct {
	accept func(*engineio.Session)
	text   func(*engineio.Session, []byte)
	binary func(*engineio.Session, []byte)
	closed func(*engineio.Session, engineio.Reason)
}

// A peer is the server's side of one client.
type peer struct {
	*engineio.Session
	server *server
	ends   atomic.Int32
	reason chan engineio.Reason
}

func (p *peer) Text(payload []byte) {
	p.mustBeOpen()
	if p.server.app.text != nil {
		p.server.app.text(p.Session, payload)
		return
	}
	p.Send(engineio.TextPacket(payload))
}

func (p *peer) Binary(payload []byte) {
	p.mustBeOpen()
	if p.server.app.binary != nil {
		p.server.app.binary(p.Session, payload)
		return
	}
	p.Send(engineio.BinaryPacket(payload))
}

func (p *peer) Closed(reason engineio.Reason) {
	p.mustBeOpen()
	p.ends.Add(1)
	p.server.peers.Delete(p.ID())
	p.server.closed.Add(1)
	p.reason <- reason
	if p.server.app.closed != nil {
		p.server.app.closed(p.Session, reason)
	}
}

func (p *peer) mustBeOpen() {
	if p.ends.Load() != 0 {
		p.server.t.Error("the receiver was called after Closed")
	}
}

// server is a real server, over HTTP. At the end of its test, it fails the test
// if a session is left, if a Receiver was not told exactly once, or if a
// response was used after its handler had returned.
type server struct {
	*engineio.Server
	t      testing.TB
	app    app
	http   *httptest.Server
	client *http.Client
	peers  sync.Map // id: *peer
	opened atomic.Int64
	closed atomic.Int64
	ending chan struct{}
	stop   func()
}

func serve(t testing.TB, cfg engineio.Config, a app) *server {
	t.Helper()
	s := newServer(t, cfg, a)
	s.http.Start()
	return s
}

// serveTLS serves HTTP/2 as well.
func serveTLS(t testing.TB, cfg engineio.Config, a app) *server {
	t.Helper()
	s := newServer(t, cfg, a)
	s.http.EnableHTTP2 = true
	s.http.StartTLS()
	s.client = s.http.Client()
	return s
}

func newServer(t testing.TB, cfg engineio.Config, a app) *server {
	t.Helper()
	s := &server{t: t, app: a, ending: make(chan struct{})}
	s.Server = engineio.NewServer(cfg, func(session *engineio.Session) engineio.Receiver {
		p := &peer{Session: session, server: s, reason: make(chan engineio.Reason, 1)}
		s.peers.Store(session.ID(), p)
		s.opened.Add(1)
		if a.accept != nil {
			a.accept(session)
		}
		return p
	})
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guarded := &guardedWriter{ResponseWriter: w, t: t}
		defer guarded.returned.Store(true)
		s.Serve(guarded, r, engineio.Exchange{Ending: s.ending})
	}))
	s.http.Config.ErrorLog = log.New(complaints{t}, "", 0)
	transport := &http.Transport{MaxIdleConnsPerHost: 1000}
	s.client = &http.Client{Transport: transport}
	s.stop = sync.OnceFunc(func() {
		s.Close()
		transport.CloseIdleConnections()
		s.http.Close()
		if n := s.Len(); n != 0 {
			t.Errorf("%d sessions are open after Close", n)
		}
		if opened, closed := s.opened.Load(), s.closed.Load(); opened != closed {
			t.Errorf("%d sessions, %d calls of Closed", opened, closed)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// peer returns the server's side of an open session.
func (s *server) peer(sid string) *peer {
	s.t.Helper()
	p, ok := s.peers.Load(sid)
	if !ok {
		s.t.Fatalf("there is no session %q", sid)
	}
	return p.(*peer)
}

// endsWith waits for the session to end.
func (p *peer) endsWith(want engineio.Reason) {
	p.server.t.Helper()
	select {
	case reason := <-p.reason:
		if reason != want {
			p.server.t.Errorf("the session ended with %q, not with %q", reason, want)
		}
	case <-time.After(patience):
		p.server.t.Fatalf("the session did not end, with %q", want)
	}
}

// connect opens a connection to the server.
func (s *server) connect() net.Conn {
	s.t.Helper()
	addr := s.http.Listener.Addr().String()
	var conn net.Conn
	var err error
	if s.http.TLS != nil {
		conn, err = tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	} else {
		conn, err = net.Dial("tcp", addr)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// guardedWriter fails the test if the response is used after its handler
// returns.
type guardedWriter struct {
	http.ResponseWriter
	t        testing.TB
	returned atomic.Bool
}

func (w *guardedWriter) check() {
	if w.returned.Load() {
		w.t.Error("a response was touched after its handler had returned")
	}
}

func (w *guardedWriter) Header() http.Header {
	w.check()
	return w.ResponseWriter.Header()
}

func (w *guardedWriter) Write(b []byte) (int, error) {
	w.check()
	return w.ResponseWriter.Write(b)
}

func (w *guardedWriter) WriteHeader(status int) {
	w.check()
	w.ResponseWriter.WriteHeader(status)
}

func (w *guardedWriter) Unwrap() http.ResponseWriter {
	w.check()
	return w.ResponseWriter
}

// complaints fails a test if net/http logs anything: panics, or headers written
// twice.
type complaints struct{ t testing.TB }

func (c complaints) Write(b []byte) (int, error) {
	if !strings.Contains(string(b), "TLS handshake error") {
		c.t.Errorf("net/http says: %s", b)
	}
	return len(b), nil
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !met(); {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
}
