package engineio

import (
	"crypto/sha1" //nolint:gosec // required by RFC 6455; security does not depend on it
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/zap"
)

// openWebSocket opens a session on a websocket.
func (s *Server) openWebSocket(w http.ResponseWriter, r *http.Request, x Exchange) *protocolError {
	key := handshakeKey(r)
	if key == "" {
		return errNoUpgrade
	}
	cfg := s.cfg.Load()
	session, refusal := s.register(x, cfg)
	if refusal != nil {
		return refusal
	}
	conn, early, err := hijack(w, r, key, cfg.WriteTimeout)
	if err != nil {
		cfg.Logger.Debug("websocket handshake failed", zap.Error(err))
		session.Abort(TransportError)
		return nil
	}
	session.mu.Lock()
	if session.state == stateClosed { // the server closed it meanwhile
		session.mu.Unlock()
		reset(conn)
		return nil
	}
	session.adopt(conn, session.openPacket())
	session.mu.Unlock()
	session.startHeartbeat()
	go session.read(conn, newFrameReader(conn, early))
	return nil
}

// handshakeKey returns the client's key if the request is a websocket handshake
// (RFC 6455, section 4.2.1), otherwise "". A request with a body is refused,
// because net/http would wait for the body before it answers.
func handshakeKey(r *http.Request) string {
	keys := r.Header["Sec-Websocket-Key"]
	if r.Method != http.MethodGet || r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.ContentLength != 0 ||
		!token(r.Header, "Connection", "upgrade") || !token(r.Header, "Upgrade", "websocket") ||
		r.Header.Get("Sec-Websocket-Version") != "13" || len(keys) != 1 {
		return ""
	}
	if nonce, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(nonce) != 16 {
		return ""
	}
	return keys[0]
}

// handshakeGUID is defined in RFC 6455, section 1.3.
const handshakeGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// hijack answers the handshake and takes over the connection, with the bytes
// that arrived after the request. Status and headers go through every wrapper
// of the server's writer, so that the wrappers see them. The connection is
// taken from the innermost writer, so that no wrapper is kept for the life of
// the socket.
func hijack(w http.ResponseWriter, r *http.Request, key string, timeout time.Duration) (net.Conn, []byte, error) {
	sum := sha1.Sum([]byte(key + handshakeGUID)) //nolint:gosec // see the import
	h := w.Header()
	h["Upgrade"] = []string{"websocket"}
	h["Connection"] = []string{"Upgrade"}
	// Some clients compare the case of this name (caddyserver/caddy#6621).
	h["Sec-WebSocket-Accept"] = []string{base64.StdEncoding.EncodeToString(sum[:])}
	if protocol := subprotocol(r.Header); protocol != "" {
		h["Sec-WebSocket-Protocol"] = []string{protocol}
	}
	// The answer is small, but can be stuck after others that the client does
	// not read.
	deadline := time.Now().Add(timeout)
	_ = http.NewResponseController(w).SetWriteDeadline(deadline)
	w.WriteHeader(http.StatusSwitchingProtocols)
	inTime := time.Now().Before(deadline) // otherwise its write can have failed, which nothing reports
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = wrapper.Unwrap()
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	var early []byte
	if n := buffered.Reader.Buffered(); n > 0 {
		early = make([]byte, n)
		_, _ = io.ReadFull(buffered.Reader, early) // already buffered
	}
	err = conn.SetDeadline(time.Time{})
	if err == nil && !inTime {
		err = os.ErrDeadlineExceeded
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, early, nil
}

// read receives from the websocket until the session ends, and finishes it.
// Handling a message grows the stack, and a grown stack stays large, so a new
// goroutine waits for the next message in 2 KiB. That goroutine is kept
// shallow, too, or the runtime would start all goroutines with a larger stack.
func (s *Session) read(conn net.Conn, frames *frameReader) {
	end := broken
	if frames.wait() == nil {
		end = s.readFrames(conn, frames)
	}
	if end == notYet {
		go s.read(conn, frames)
		return
	}
	s.endRead(conn, end == inOrder)
}

// ending is how a websocket ended.
type ending int

const (
	notYet  ending = iota
	inOrder        // with a close frame from the client, or its answer to ours
	broken
)

// endRead closes the connection and finishes the session.
func (s *Session) endRead(conn net.Conn, inOrder bool) {
	s.mu.Lock()
	if s.state == stateOpen {
		s.reason = TransportClose
	}
	if !inOrder {
		s.state, s.queue = stateClosed, nil
		reset(conn)
	}
	if s.writing {
		s.written = make(chan struct{})
	}
	written := s.written
	s.mu.Unlock()
	if written != nil {
		<-written
	}
	_ = conn.Close()
	s.finish()
}

// readFrames handles everything received so far, and messages completed
// meanwhile.
func (s *Session) readFrames(conn net.Conn, frames *frameReader) ending {
	defer frames.release()
	for {
		op, payload, err := frames.next(s.payloadBound(), s.tally)
		var breach *frameError
		switch {
		case errors.As(err, &breach):
			return s.refuse(conn, ParseError, breach.code)
		case errors.Is(err, errFlood):
			s.noteFlood()
			return s.refuse(conn, Flood, ws.StatusPolicyViolation)
		case err != nil:
			return broken
		case op == ws.OpPing:
			p := encode(ws.OpPong, 0, [][]byte{payload})
			s.Send(p)
		case op == ws.OpPong:
		case op == ws.OpClose:
			return s.closedByPeer(conn, payload)
		case op == ws.OpBinary:
			s.receiving.Lock()
			s.receive(payload, true)
			s.receiving.Unlock()
		case !s.packet(payload):
			return s.refuse(conn, ParseError, ws.StatusPolicyViolation)
		}
		if frames.idle() {
			return notYet
		}
	}
}

// packet handles one text packet from a websocket. It returns false if the
// packet is invalid or not allowed at this point.
func (s *Session) packet(p []byte) bool {
	if len(p) == 0 {
		return false
	}
	switch p[0] {
	case typeMessage:
		s.receiving.Lock()
		s.receive(p[1:], false)
		s.receiving.Unlock()
	case typePong:
		s.pong()
	case typeClose:
		s.Close(TransportClose)
	default:
		return false
	}
	return true
}

// closedByPeer answers a close frame with the client's own code.
func (s *Session) closedByPeer(conn net.Conn, payload []byte) ending {
	code := ws.StatusNoStatusRcvd
	if len(payload) > 0 {
		var reason string
		code, reason = ws.ParseCloseFrameData(payload)
		if len(payload) < 2 || ws.CheckCloseFrameData(code, reason) != nil {
			return s.refuse(conn, ParseError, ws.StatusProtocolError)
		}
	}
	s.mu.Lock()
	s.close(TransportClose, code)
	s.mu.Unlock()
	return inOrder
}

// maxDiscard is how much more input of a refused client is read, in bytes, so
// that the client can read the reason before the connection is reset.
const maxDiscard = 1 << 20

// refuse closes the websocket with a code, after a protocol violation or too
// many packets.
func (s *Session) refuse(conn net.Conn, reason Reason, code closeCode) ending {
	s.mu.Lock()
	s.close(reason, code)
	s.mu.Unlock()
	_, _ = io.CopyN(io.Discard, conn, maxDiscard)
	return inOrder
}
