// Package socketio is a server for revision 5 of the Socket.IO protocol, which
// socket.io-client 3 and 4 speak, on top of engineio's sessions. It serves the
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
	// ConnectTimeout is how long a session can stay without a connected socket,
	// from its opening or its client's DISCONNECT, before it is closed. If its
	// last CONNECT was refused, the client then gets a DISCONNECT. It is
	// required.
	ConnectTimeout time.Duration

	// MaxConnecting bounds the sessions without a connected socket; 0 means no
	// limit. Sessions over the limit are refused, so that when everybody
	// connects at once, those that are admitted get through.
	MaxConnecting int

	// Address returns the address that a client counts as, given its session's
	// Data. No valid address can have more than a quarter of MaxConnecting, so
	// that somebody who opens idle sessions does not keep everybody else out.
	// Default: no address is valid.
	Address func(data any) netip.Prefix

	// Logger logs refused packets at debug level and panics in handlers at
	// error level. Default: none.
	Logger *zap.Logger
}

// A Handler is the application's side of one socket. Its calls never overlap. A
// panic in one closes that session and no other.
type Handler interface {
	// Connect decides whether the client may connect. auth is the JSON object
	// that the client sent, byte for byte, or nil if it sent none. An error
	// refuses the client, which gets the error's text as err.message and, if
	// the error is a *Refusal, its data as err.data. Connect may answer itself,
	// with Socket.Open, and then returns nil.
	Connect(auth json.RawMessage) error

	// Event is called for each event of the client, in order. If work is left
	// that can take time, Event returns it as a function, which runs on another
	// goroutine. Whatever the client sends next waits for it, while heartbeats
	// are answered. ctx ends with the session.
	Event(e *Event) (rest func(ctx context.Context))

	// Disconnect is called once for each Connect that returned nil. It is the
	// last call, even after a rest.
	Disconnect(reason string)
}

// A Screener is a Handler that refuses events before they are read, so that a
// refused event costs next to nothing however large it is.
type Screener interface {
	// Screen is called before each Event. If it returns an error, the event's
	// arguments are not parsed, and its attachments are counted and thrown
	// away; Event then gets the event with the error in Refused. For a long
	// event, only Name and Binaries are set here.
	Screen(e *Event) error
}

// A Welcomer is a Handler that acts once its socket is connected, before the
// first Event. Socket.Send and Socket.Emit work from then on.
type Welcomer interface {
	Connected()
}

// Server speaks Socket.IO on Engine.IO sessions. All its methods may be called
// concurrently.
type Server struct {
	cfg        atomic.Pointer[Config]
	accept     func(*Socket) Handler
	connecting places // held by sessions that wait for a CONNECT
	refused    atomic.Uint64

	rests sync.WaitGroup

	full, crowded limit.Seldom // limit the log lines about refused sessions
}

// NewServer creates a server. accept is called for each CONNECT to the default
// namespace, before it is answered.
func NewServer(cfg Config, accept func(*Socket) Handler) *Server {
	s := &Server{accept: accept}
	s.Configure(cfg)
	return s
}

// Configure changes the settings. A connect timeout that is already running
// keeps its length.
func (s *Server) Configure(cfg Config) {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	s.cfg.Store(&cfg)
}

// Wait waits for the functions that Handler.Event returned. Call it when all
// sessions have ended.
func (s *Server) Wait() { s.rests.Wait() }

// Connecting returns the number of sessions without a connected socket.
func (s *Server) Connecting() int { return s.connecting.count() }

// Refused returns the number of sessions refused because of MaxConnecting, or
// because of their address's share of it.
func (s *Server) Refused() uint64 { return s.refused.Load() }

// Open begins to serve a session, as the accept function of engineio.NewServer.
// It returns nil if there is no place for another connecting session.
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
