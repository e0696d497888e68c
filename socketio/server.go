// Package socketio is a Socket.IO server of protocol revision 5, the one that
// socket.io-client 3 and 4 speak, over the sessions of engineio. It serves the
// default namespace only.
//
// https://socket.io/docs/v4/socket-io-protocol/
package socketio

import (
	"context"
	"encoding/json"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

// Config holds the settings of a Server.
type Config struct {
	// ConnectTimeout is how long a session may be without a connected socket,
	// from its opening or from its client's DISCONNECT, before it is closed;
	// one whose CONNECT was refused then gets a DISCONNECT. It is required.
	ConnectTimeout time.Duration

	// MaxConnecting bounds the sessions without a connected socket; 0 is no
	// bound. Sessions over it are refused, so that when everybody comes at
	// once those who are let in get through.
	MaxConnecting int

	// Address is what a client counts as by its session's Data: of
	// MaxConnecting, no valid one may have more than a quarter, so that
	// somebody who opens sessions and does nothing with them does not keep all
	// others out. Default: none is valid.
	Address func(data any) netip.Prefix

	// Logger gets refused packets at debug and panics of handlers at error
	// level. Default: none.
	Logger *zap.Logger
}

// A Handler is the application behind one socket. Its calls never overlap, and
// a panic in one closes that session and no other.
type Handler interface {
	// Connect decides whether the client may connect. auth is the JSON object
	// that the client sent, byte for byte, or nil where it sent none. An error
	// refuses: the client gets its text as err.message and, if it is a
	// *Refusal, the data as err.data.
	Connect(auth json.RawMessage) error

	// Event is called for each event of the client, in order. If there is
	// something left to do that may take time, it returns that: it is done on
	// another goroutine, and what the client sends next waits behind it, while
	// heartbeats are answered. ctx ends with the session.
	Event(e *Event) (rest func(ctx context.Context))

	// Disconnect is called once after a Connect that returned nil, and last, also
	// behind a rest.
	Disconnect(reason string)
}

// A Screener is a Handler that refuses events before they are read, so that
// what is refused costs next to nothing however large it is.
type Screener interface {
	// Screen is called before each Event. If it returns an error, the event's
	// arguments are not parsed and its attachments are counted and thrown away;
	// Event then gets it with that error as Refused. A long event has nothing
	// but its Name and Binaries here.
	Screen(e *Event) error
}

// A Welcomer is a Handler that has something to do once its socket is
// connected, before the first Event; Socket.Send and Socket.Emit work from
// here on.
type Welcomer interface {
	Connected()
}

// Server speaks Socket.IO on Engine.IO sessions. All its methods may be called
// concurrently.
type Server struct {
	cfg        atomic.Pointer[Config]
	accept     func(*Socket) Handler
	connecting places // of sessions that wait for a CONNECT
	refused    atomic.Uint64

	rests sync.WaitGroup

	full, crowded limit.Seldom // log lines
}

// NewServer makes a server. accept is called for each CONNECT to the default
// namespace, before it is answered.
func NewServer(cfg Config, accept func(*Socket) Handler) *Server {
	s := &Server{accept: accept}
	s.Configure(cfg)
	return s
}

// Configure changes the settings; a connect timeout that is running keeps its
// length.
func (s *Server) Configure(cfg Config) {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	s.cfg.Store(&cfg)
}

// Wait waits for what handlers have left to do. It is for when all sessions have
// ended.
func (s *Server) Wait() { s.rests.Wait() }

// Connecting is the number of sessions without a connected socket.
func (s *Server) Connecting() int { return s.connecting.count() }

// Refused counts the sessions that were refused over MaxConnecting, or over
// their address's share of it.
func (s *Server) Refused() uint64 { return s.refused.Load() }

// Open begins to serve a session; it is what engineio.NewServer wants. It
// returns nil if there is no place for one that connects.
func (s *Server) Open(sess *engineio.Session) engineio.Receiver {
	place := s.enter(sess)
	if place == nil {
		return nil
	}
	sess.Bound(strangerPayload, strangerQueue)
	c := &conn{server: s, sess: sess}
	c.awaitConnect(place)
	return c
}
