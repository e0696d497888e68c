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
	// from its opening or from its client's DISCONNECT, before it is closed.
	// It is required.
	ConnectTimeout time.Duration

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

// A Welcomer is a Handler that has something to do once its socket is
// connected, before the first Event; Socket.Send and Socket.Emit work from
// here on.
type Welcomer interface {
	Connected()
}

// Server speaks Socket.IO on Engine.IO sessions. All its methods may be called
// concurrently.
type Server struct {
	cfg    atomic.Pointer[Config]
	accept func(*Socket) Handler
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

// Open begins to serve a session; it is what engineio.NewServer wants.
func (s *Server) Open(sess *engineio.Session) engineio.Receiver {
	c := &conn{server: s, sess: sess}
	c.awaitConnect()
	return c
}
