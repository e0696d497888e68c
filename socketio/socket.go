package socketio

import (
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/internal/random"
)

// ErrNotConnected is returned for a send before a socket is connected or after
// it has ended.
var ErrNotConnected = errors.New("socketio: socket is not connected")

// Socket is one client that is connected to the default namespace. Its methods
// may be called concurrently.
type Socket struct {
	id      string // set before the socket is connected
	sess    *engineio.Session
	handler Handler // set before the socket is connected; called only by conn
	log     *zap.Logger

	// mu guards state and reason. It is also held while packets are queued, so
	// that none is sent before the answer to the CONNECT, or after the end of
	// the socket, where it would reach the session's next socket.
	mu     sync.Mutex
	state  state
	answer bool   // the CONNECT was answered; here it takes no memory of its own
	reason string // why the socket ended
}

// state is a socket's stage of life. It only moves forward.
type state uint8

const (
	connecting state = iota // the CONNECT is not answered yet
	connected
	gone // or about to end: disconnected while connecting
)

func newSocket(sess *engineio.Session) *Socket {
	return &Socket{id: random.Text(idLength), sess: sess}
}

// idLength is the length of a socket's ID, which is public, unlike its
// session's.
const idLength = 20

// IsID reports whether id has the form of a socket's ID, in use or not.
func IsID(id string) bool { return random.IsText(id, idLength) }

// ID returns the socket's id, which its client knows as socket.id. It is not
// the session's id.
func (s *Socket) ID() string { return s.id }

// Session returns the Engine.IO session that carries the socket.
func (s *Socket) Session() *engineio.Session { return s.sess }

// Send queues packets made by EventPacket, with nothing in between. It never
// blocks, and returns false if the socket is not connected or its session is
// closing.
func (s *Socket) Send(packets ...*engineio.Packet) bool { return s.send(packets...) }

// Queue is Send for a caller that flushes the Session if Queue returns true;
// see engineio.Session.Queue.
func (s *Socket) Queue(p *engineio.Packet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == connected && s.sess.Queue(p)
}

// Emit sends an event. Arguments are encoded as JSON. A []byte or an io.Reader,
// also within []any and map[string]any, reaches the client as a binary
// attachment.
func (s *Socket) Emit(event string, args ...any) error {
	if reserved(event) {
		return fmt.Errorf("socketio: %q is a reserved event name", event)
	}
	payload := make([]any, 0, 1+len(args))
	packets, err := encode(typeEvent, "", append(append(payload, event), args...))
	if err != nil {
		return fmt.Errorf("socketio: encoding event %q: %w", event, err)
	}
	if !s.send(packets...) {
		return ErrNotConnected
	}
	return nil
}

// Disconnect ends the socket: its client gets what was sent so far and a
// DISCONNECT, then the transport is closed. A stock client reports "io server
// disconnect" and does not reconnect. Handler.Disconnect gets the reason. Only
// the first call has an effect, and none does after the client has gone.
func (s *Socket) Disconnect(reason string) {
	s.mu.Lock()
	before := s.state
	if before != gone {
		s.state, s.reason = gone, reason
	}
	if before == connected {
		s.sess.Send(disconnectPacket)
	}
	s.mu.Unlock()
	if before == connected {
		s.sess.Close(engineio.ForcedClose)
	}
}

// send queues packets, in order and with nothing in between, if the socket is
// connected.
func (s *Socket) send(packets ...*engineio.Packet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == connected && s.sess.Send(packets...)
}

// Open answers the CONNECT, with first right behind the answer, and admits
// events. Handler.Connect calls it if there is more to say than that the client
// is connected, and then returns nil. pid is the private ID that a client needs
// to come back, or "" if it cannot. A client that has come back gets the ID that
// it had, in id; "" keeps the socket's own.
//
// It returns false if the socket was disconnected meanwhile: its client then
// gets only a DISCONNECT after the answer.
//
// https://socket.io/docs/v4/connection-state-recovery
func (s *Socket) Open(id, pid string, first ...*engineio.Packet) bool {
	s.sess.Bound(0, 0) // the client is authenticated
	s.mu.Lock()
	if id != "" {
		s.id = id
	}
	s.answer = true
	answer := append(append([]byte(`{"sid":"`), s.id...), '"')
	if pid != "" {
		answer = append(append(append(answer, `,"pid":"`...), pid...), '"')
	}
	packets := append(make([]*engineio.Packet, 0, 1+len(first)), engineio.TextPacket([]byte{typeConnect}, append(answer, '}')))
	disconnected := s.state == gone
	if disconnected {
		s.sess.Send(append(packets, disconnectPacket)...)
	} else {
		s.state = connected
		s.sess.Send(append(packets, first...)...)
	}
	s.mu.Unlock()
	if disconnected {
		s.sess.Close(engineio.ForcedClose)
	}
	return !disconnected
}

// Opened reports whether the CONNECT was answered.
func (s *Socket) Opened() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answer
}

// end marks the socket as gone and returns the reason of the first call that
// ended it.
func (s *Socket) end(reason string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != gone {
		s.state, s.reason = gone, reason
	}
	return s.reason
}

// gone reports whether either side disconnected the socket.
func (s *Socket) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == gone
}
