package socketio

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// conn receives what one session sends, one thing after the other.
type conn struct {
	server *Server
	sess   *engineio.Session

	// turn is held while something of the session is done, by its receive
	// goroutine or behind a rest. It guards all below but what the timer asks.
	turn    sync.Mutex
	rest    *rest       // nil unless an event takes its time
	place   *place      // of those that connect; nil while a socket is connected
	socket  *Socket     // nil until connected, and after a DISCONNECT
	pending *assembly   // the packet that waits for its attachments
	closed  bool        // the session was closed from here: what still comes is dropped
	spaces  uint8       // namespaces that were refused before there was a socket
	refused atomic.Bool // the last CONNECT was; the timer asks
}

// Text takes one packet, or the text of one with attachments.
func (c *conn) Text(message []byte) { c.take(message, false) }

// text needs turn.
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

// Binary takes one attachment.
func (c *conn) Binary(data []byte) { c.take(data, true) }

// binary needs turn.
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

// Closed ends the socket with the session.
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

// dispatch does what a packet asks for that is no event of a connected socket,
// if it may be asked for now. Everything else closes the session, as a Node server does.
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
		// Acknowledgements go nowhere: this server asks for none, so they can
		// only be made up. Neither does a CONNECT_ERROR, as in Node.
	}
}

// end tells the application, once, that its socket is gone.
func (c *conn) end(reason string) {
	if s := c.socket; s != nil {
		c.socket = nil // first, so that a panic in the handler does not bring it here again
		s.handler.Disconnect(s.end(reason))
	}
}

// reconnect gives a client that disconnected its socket the time for another
// CONNECT, if there is a place for one that connects.
func (c *conn) reconnect() {
	place := c.server.enter(c.sess)
	if place == nil {
		c.close(engineio.ForcedClose)
		return
	}
	c.awaitConnect(place)
}

// Bounds of a client that has not said who it is. As many of them as may
// connect at a time take that much memory and no more, however fast they send,
// and whether they read or not. A CONNECT with its auth has to fit.
const (
	strangerPayload = 16 << 10
	strangerQueue   = 8 << 10
)

// awaitConnect gives the client the connect timeout for a CONNECT. When half of
// those that may connect at a time do already, half the timeout has to be
// enough, so that silent connections keep others out for less long.
func (c *conn) awaitConnect(p *place) {
	sess, cfg := c.sess, c.server.cfg.Load()
	timeout := cfg.ConnectTimeout
	if cfg.MaxConnecting > 0 && p.nth > cfg.MaxConnecting/2 {
		timeout /= 2
	}
	c.refused.Store(false)
	c.place = p
	p.timeout = time.AfterFunc(timeout, func() {
		// Its place is free at once: a client that does not take part in the end
		// of its session delays that.
		c.server.connecting.free(p)
		cfg.Logger.Debug("closing a session without CONNECT")
		// Stock clients before 4.4 stay after a refusal, and would take just a
		// close for a lost transport: each would come back, for ever, to be
		// refused again.
		if c.refused.Load() {
			sess.Send(disconnectPacket)
		}
		sess.Close(engineio.ForcedClose)
	})
}

// stopTimeout also releases the timer: most sessions live long after it.
func (c *conn) stopTimeout() {
	if c.place == nil {
		return
	}
	if c.place.timeout.Stop() { // else its function has freed the place
		c.server.connecting.free(c.place)
	}
	c.place = nil
}

// deaf says whether the session is being closed by this side; what the client
// sends until it learns of that has no addressee.
func (c *conn) deaf() bool {
	return c.closed || c.socket != nil && c.socket.gone()
}

// parseError closes the session of a client that does not speak the protocol.
func (c *conn) parseError(err error) {
	c.log().Debug("closing a session for a malformed packet", zap.Error(err))
	c.close(engineio.ParseError)
}

// invalidState closes the session of a client that sent what it may not now.
func (c *conn) invalidState(what string) {
	c.log().Debug("closing a session for a packet out of turn", zap.String("packet", what))
	c.close(engineio.ForcedClose)
}

func (c *conn) close(reason engineio.Reason) {
	c.closed = true
	c.pending = nil
	c.sess.Close(reason)
}

// contain keeps a panic, of a handler or of the parsing of what a stranger
// sent, from everyone but the session that it came from. It is deferred.
func (c *conn) contain() {
	if r := recover(); r != nil {
		c.log().Error("panic in a session; closing it", zap.Any("panic", r), zap.Stack("stack"))
		c.close(engineio.ForcedClose)
	}
}

func (c *conn) log() *zap.Logger { return c.server.cfg.Load().Logger }
