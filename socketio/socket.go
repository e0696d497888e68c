package socketio

import (
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/internal/random"
)

// ErrNotConnected is returned for what is to be sent before a socket is
// connected or after it is gone.
var ErrNotConnected = errors.New("socketio: socket is not connected")

// Socket is one client, connected to the default namespace. Its methods may be
// called concurrently.
type Socket struct {
	id      string
	sess    *engineio.Session
	handler Handler // set before the socket is connected; called by conn only
	log     *zap.Logger

	// mu guards state and reason. It is also held while packets are queued, so
	// that none gets before the CONNECT's answer or behind the end of the
	// socket, where it would reach the next socket of the same session.
	mu     sync.Mutex
	state  state
	reason string // why gone
}

// state is where a socket is in its life; it only ever grows.
type state uint8

const (
	connecting state = iota // the CONNECT is not answered
	connected
	gone // or about to go: disconnected while connecting
)

func newSocket(sess *engineio.Session) *Socket {
	return &Socket{id: random.Text(idLength), sess: sess}
}

// idLength is that of a socket's ID, which is public, unlike that of its session.
const idLength = 20

// IsID reports whether a socket may have the id, though none has it now.
func IsID(id string) bool { return random.IsText(id, idLength) }

// ID is the socket's id, which its client knows as socket.id. It is not the id
// of the session.
func (s *Socket) ID() string { return s.id }

// Session is the Engine.IO session that carries the socket.
func (s *Socket) Session() *engineio.Session { return s.sess }

// Send queues a packet that EventPacket made. It never blocks, and returns
// false if the socket is not connected or its session is closing.
func (s *Socket) Send(p *engineio.Packet) bool { return s.send(p) }

// Queue is Send for a caller that flushes the Session if Queue returns true,
// see engineio.Session.Queue.
func (s *Socket) Queue(p *engineio.Packet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == connected && s.sess.Queue(p)
}

// Emit sends an event. Arguments are encoded as JSON; those that are []byte or
// an io.Reader, or have such inside []any and map[string]any, reach the client
// as binary attachments.
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
// the first call does anything, and none after the client has gone.
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

// send queues packets, adjacent and in order, if the socket is connected.
func (s *Socket) send(packets ...*engineio.Packet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == connected && s.sess.Send(packets...)
}

// open answers the CONNECT and lets events through. It returns false if the
// socket was disconnected meanwhile: its client then gets just that behind the
// answer.
func (s *Socket) open() bool {
	answer := engineio.TextPacket([]byte{typeConnect}, []byte(`{"sid":"`), []byte(s.id), []byte(`"}`))
	s.mu.Lock()
	disconnected := s.state == gone
	if disconnected {
		s.sess.Send(answer, disconnectPacket)
	} else {
		s.state = connected
		s.sess.Send(answer)
	}
	s.mu.Unlock()
	if disconnected {
		s.sess.Close(engineio.ForcedClose)
	}
	return !disconnected
}

// end marks the socket as gone and returns why: the reason of whoever was
// first.
func (s *Socket) end(reason string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != gone {
		s.state, s.reason = gone, reason
	}
	return s.reason
}

// gone says whether the socket was disconnected, by either side.
func (s *Socket) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == gone
}
