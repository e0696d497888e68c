package engineio

import (
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/zap"
)

// upgrade accepts a websocket that will carry a session on polling. The client
// probes it while polling continues, and switches with an upgrade packet.
//
// https://socket.io/docs/v4/engine-io-protocol/#upgrade
func (s *Session) upgrade(w http.ResponseWriter, r *http.Request) *protocolError {
	timeout := s.server.cfg.Load().WriteTimeout
	key := handshakeKey(r)
	if key == "" {
		return errNoUpgrade
	}
	s.mu.Lock()
	s.expire(time.Now())
	if s.state != stateOpen || s.conn != nil || s.upgrading {
		s.mu.Unlock()
		// Node's server completes the handshake before it closes, and clients
		// may not expect any other answer.
		if conn, _, err := hijack(w, r, key, timeout); err == nil {
			reset(conn)
		}
		return nil
	}
	s.upgrading = true
	s.server.open.Add(1) // the session still holds one, so Close has not stopped waiting
	s.mu.Unlock()

	conn, early, err := hijack(w, r, key, timeout)
	if err != nil {
		s.server.cfg.Load().Logger.Debug("websocket handshake failed", zap.Error(err))
		s.endProbe(nil)
		return nil
	}
	s.mu.Lock()
	s.probe = conn
	closed := s.state != stateOpen
	s.mu.Unlock()
	if closed {
		s.endProbe(conn)
		return nil
	}
	go func() {
		frames := newFrameReader(conn, early)
		if !s.awaitUpgrade(conn, frames) {
			frames.release()
			s.endProbe(conn)
			return
		}
		s.server.open.Done() // from here on, it is the session's reader
		go s.read(conn, frames)
	}()
	return nil
}

// endProbe gives up a websocket that did not become the session's transport.
func (s *Session) endProbe(conn net.Conn) {
	s.mu.Lock()
	s.upgrading, s.probed, s.probe = false, false, nil
	s.mu.Unlock()
	if conn != nil {
		reset(conn) // last: once the client notices, it may poll and wait again
	}
	s.server.open.Done()
}

// awaitUpgrade answers the probe and moves the session to the websocket. It
// returns false if the session stays on polling.
func (s *Session) awaitUpgrade(conn net.Conn, frames *frameReader) bool {
	cfg := s.server.cfg.Load()
	if conn.SetReadDeadline(time.Now().Add(cfg.UpgradeTimeout)) != nil {
		return false
	}
	if !s.expectPacket(frames, "2probe") {
		return false
	}
	s.mu.Lock()
	if s.state != stateOpen {
		s.mu.Unlock()
		return false
	}
	s.probed = true
	if s.pending != nil {
		s.pending.noop = true // the client waits for its poll to end
		s.pending.wake()
	}
	s.mu.Unlock()
	if err := s.writeFrame(conn, probeAnswer.frame); err != nil {
		return false
	}
	if !s.expectPacket(frames, "5") {
		return false
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == stateClosed || conn.SetReadDeadline(time.Time{}) != nil {
		return false
	}
	s.probe, s.upgrading, s.probed = nil, false, false
	if s.pending != nil {
		s.pending.refused = true
		s.pending.wake()
	}
	s.adopt(conn)
	return true
}

// expectPacket reads one text packet, skipping websocket pings and pongs.
func (s *Session) expectPacket(frames *frameReader, want string) bool {
	for {
		op, payload, err := frames.next(len(want), s.tally)
		switch {
		case errors.Is(err, errFlood):
			s.noteFlood()
			s.Abort(Flood)
			return false
		case err != nil:
			return false
		case op == ws.OpPing, op == ws.OpPong:
		default:
			return op == ws.OpText && string(payload) == want
		}
	}
}
