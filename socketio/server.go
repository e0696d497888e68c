// Package socketio is a Socket.IO server of protocol revision 5, the one that
// socket.io-client 3 and 4 speak, over the sessions of engineio. It serves the
// default namespace only.
//
// https://socket.io/docs/v4/socket-io-protocol/
package socketio

import (
	"encoding/json"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
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

	// Event is called for each event of the client, in order.
	Event(e *Event)

	// Disconnect is called once after a Connect that returned nil, and last.
	Disconnect(reason string)
}

// A Screener is a Handler that refuses events before they are read, so that
// what is refused costs next to nothing however large it is.
type Screener interface {
	// Screen is called before each Event. If it returns an error, the event's
	// arguments are not parsed and its attachments are counted and thrown away;
	// Event then gets it with that error as Refused. A long event has nothing
	// but its Name here.
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
	connecting atomic.Int64 // sessions that wait for a CONNECT
	refused    atomic.Uint64
	begun      time.Time
	warned     atomic.Int64 // when the log last heard of it, in nanoseconds since begun; 0 is never
}

// NewServer makes a server. accept is called for each CONNECT to the default
// namespace, before it is answered.
func NewServer(cfg Config, accept func(*Socket) Handler) *Server {
	s := &Server{accept: accept, begun: time.Now()}
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

// Connecting is the number of sessions without a connected socket.
func (s *Server) Connecting() int { return int(s.connecting.Load()) }

// Refused counts the sessions that were refused over MaxConnecting.
func (s *Server) Refused() uint64 { return s.refused.Load() }

// Open begins to serve a session; it is what engineio.NewServer wants. Over
// MaxConnecting it returns nil.
func (s *Server) Open(sess *engineio.Session) engineio.Receiver {
	n, ok := s.enter()
	if !ok {
		return nil
	}
	sess.Bound(strangerPayload, strangerQueue)
	c := &conn{server: s, sess: sess}
	c.awaitConnect(n)
	return c
}

// enter takes a place of those that connect, and says which, if there is one.
func (s *Server) enter() (n int64, ok bool) {
	n = s.connecting.Add(1)
	if limit := s.cfg.Load().MaxConnecting; limit > 0 && n > int64(limit) {
		s.connecting.Add(-1)
		s.refuse(limit)
		return 0, false
	}
	return n, true
}

// warnEvery is how often the log hears of refused sessions.
const warnEvery = 10 * time.Second

func (s *Server) refuse(limit int) {
	refused := s.refused.Add(1)
	now, last := time.Since(s.begun), s.warned.Load() // by a clock that nobody sets
	if (last == 0 || now-time.Duration(last) >= warnEvery) && s.warned.CompareAndSwap(last, max(1, int64(now))) {
		s.cfg.Load().Logger.Warn("clients refused: too many connect at a time; they try again by themselves, or raise max_connecting",
			zap.Int("max_connecting", limit), zap.Uint64("refused_so_far", refused))
	}
}
