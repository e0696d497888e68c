package socketio

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// conn handles what one session receives, one message at a time.
type conn struct {
	server *Server
	sess   *engineio.Session

	// turn is held while a message of the session is handled, by its receive
	// goroutine or after a rest. It guards everything below except refused,
	// which the timer reads.
	turn    sync.Mutex
	rest    *rest       // nil unless the rest of an event is running
	place   *place      // a place among the connecting sessions; nil while a socket is connected
	socket  *Socket     // nil until connected, and after a DISCONNECT
	pending *assembly   // the packet that is waiting for its attachments
	closed  bool        // this side closed the session, so later messages are dropped
	spaces  uint8       // namespaces refused before there was a socket
	refused atomic.Bool // the last CONNECT was refused; the timer reads this
}

// Text handles one packet, or the text of a packet with attachments.
func (c *conn) Text(message []byte) { c.take(message, false) }

// text handles the text of a packet. The caller holds turn.
func (c *conn) text(message []byte) {
	if c.pending != nil {
		c.parseError(errAttachmentMissing)
		return
	}
	p, err := parseHead(message)
	if err == nil {
		if c.socket != nil && p.isEvent() && p.namespace == "" {
			c.event(p)
			return
		}
		err = p.checkPayload()
	}
	if err != nil {
		c.parseError(err)
		return
	}
	c.dispatch(p)
}

// Binary handles one attachment.
func (c *conn) Binary(data []byte) { c.take(data, true) }

// binary handles one attachment. The caller holds turn.
func (c *conn) binary(data []byte) {
	if c.pending == nil {
		c.parseError(errAttachmentUnasked)
		return
	}
	complete, err := c.pending.add(data)
	if err != nil {
		c.parseError(err)
		return
	}
	if complete {
		whole := c.pending
		c.pending = nil
		c.assembled(whole)
	}
}

// Closed ends the socket along with its session.
func (c *conn) Closed(reason engineio.Reason) {
	c.turn.Lock()
	defer c.turn.Unlock()
	defer c.contain()
	c.closed = true
	c.pending = nil
	c.stopTimeout()
	if c.rest != nil {
		c.rest.closed = &reason
		c.rest.cancel()
		return
	}
	c.end(string(reason))
}

// dispatch handles a packet that is not an event of a connected socket, if the
// packet is allowed now. Everything else closes the session, as a Node server
// does.
//
// https://socket.io/docs/v4/socket-io-protocol/#connection-to-a-namespace
func (c *conn) dispatch(p packet) {
	switch {
	case p.namespace != "" && p.kind == typeConnect:
		c.refuseNamespace(p.namespace)
	case p.namespace != "":
		c.invalidState("not CONNECT, for an unknown namespace")
	case p.kind == typeConnect && c.socket == nil:
		c.connect(p)
	case p.kind == typeConnect:
		c.invalidState("second CONNECT")
	case c.socket == nil:
		c.invalidState("before CONNECT")
	case p.kind == typeDisconnect:
		c.end("client namespace disconnect")
		c.reconnect()
	case p.attachments > 0:
		c.pending = newCount(p, nil) // an acknowledgement
	default:
		// Acknowledgements are ignored: this server requests none, so they can
		// only be made up. A CONNECT_ERROR is ignored, too, as in Node.
	}
}

// end tells the application, once, that its socket has ended.
func (c *conn) end(reason string) {
	if s := c.socket; s != nil {
		c.socket = nil // first, so that a panic in the handler does not lead here again
		s.handler.Disconnect(s.end(reason))
	}
}

// reconnect gives a client that disconnected its socket time for another
// CONNECT, if there is a place among the connecting sessions.
func (c *conn) reconnect() {
	place := c.server.enter(c.sess)
	if place == nil {
		c.close(engineio.ForcedClose)
		return
	}
	c.awaitConnect(place)
}

// Limits of an unauthenticated client. They bound the memory that the
// connecting clients can take, however fast they send and whether or not they
// read. A CONNECT with its auth must fit.
const (
	strangerPayload = 16 << 10
	strangerQueue   = 8 << 10
)

// ConnectTimeout is the reason for the end of a socket whose CONNECT was still
// being handled when the connect timeout ended. The client did nothing wrong.
const ConnectTimeout engineio.Reason = "connect timeout"

// awaitConnect gives the client the connect timeout to send a CONNECT. When
// more than half of the places are taken, the timeout is halved, so that silent
// connections keep others out for less time.
func (c *conn) awaitConnect(p *place) {
	sess, cfg := c.sess, c.server.cfg.Load()
	timeout := cfg.ConnectTimeout
	if cfg.MaxConnecting > 0 && p.nth > cfg.MaxConnecting/2 {
		timeout /= 2
	}
	c.refused.Store(false)
	c.place = p
	p.timeout = time.AfterFunc(timeout, func() {
		// Free the place now: a client that does not help to end its session
		// delays that end.
		c.server.connecting.free(p)
		cfg.Logger.Debug("closing a session without CONNECT")
		// Stock clients before 4.4 stay after a refusal and take a bare close
		// for a lost transport. Each would reconnect, forever, to be refused
		// again.
		if c.refused.Load() {
			sess.Send(disconnectPacket)
		}
		sess.Close(ConnectTimeout)
	})
}

// stopTimeout also releases the timer, because most sessions live long after
// it.
func (c *conn) stopTimeout() {
	if c.place == nil {
		return
	}
	if c.place.timeout.Stop() { // otherwise its function has freed the place
		c.server.connecting.free(c.place)
	}
	c.place = nil
}

// deaf reports whether this side is closing the session. Whatever the client
// sends until it learns of that is dropped.
func (c *conn) deaf() bool {
	return c.closed || c.socket != nil && c.socket.gone()
}

// parseError closes the session of a client that violates the protocol.
func (c *conn) parseError(err error) {
	c.log().Debug("closing a session for a malformed packet", zap.Error(err))
	c.close(engineio.ParseError)
}

// invalidState closes the session of a client that sent a packet out of turn.
func (c *conn) invalidState(what string) {
	c.log().Debug("closing a session for a packet out of turn", zap.String("packet", what))
	c.close(engineio.ForcedClose)
}

func (c *conn) close(reason engineio.Reason) {
	c.closed = true
	c.pending = nil
	c.sess.Close(reason)
}

// contain limits a panic, in a handler or in parsing what an unauthenticated
// client sent, to the session that it came from. It must be deferred.
func (c *conn) contain() {
	if r := recover(); r != nil {
		c.log().Error("panic in a session; closing it", zap.Any("panic", r), zap.Stack("stack"))
		c.close(engineio.ForcedClose)
	}
}

func (c *conn) log() *zap.Logger { return c.server.cfg.Load().Logger }
