package engineio

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// openPolling opens a session on long-polling and answers with its handshake.
func (s *Server) openPolling(w http.ResponseWriter, x Exchange) *protocolError {
	cfg := s.cfg.Load()
	session, refusal := s.register(x, cfg)
	if refusal != nil {
		return refusal
	}
	session.setHeld(false) // from now on, Settle waits for the first poll
	session.startHeartbeat()
	if err := answer(w, cfg.WriteTimeout, session.openPacket("websocket")); err != nil {
		session.Abort(TransportError)
		abandon()
	}
	return nil
}

// A pendingPoll is a GET that waits for packets. Its own handler writes the
// answer: nothing else ever touches its ResponseWriter. The session's mu guards
// the fields that others change.
type pendingPoll struct {
	woken   chan struct{}
	hold    *Hold   // see Exchange.Hold
	answer  *Packet // the final answer of a closed session
	noop    bool    // the poll must end, with a noop if nothing is queued
	refused bool    // the session moved to a websocket
	stamp   uint64  // see stampOf
}

// wake makes the handler check again.
func (p *pendingPoll) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// upgradePause is how long a poll waits while a websocket is probed, so that a
// client that keeps polling neither waits for long nor spins.
const upgradePause = 50 * time.Millisecond

// poll answers a GET as soon as something is queued.
func (s *Session) poll(w http.ResponseWriter, r *http.Request, x Exchange) *protocolError {
	me, probed, refusal := s.park(x, stampOf(r.URL.Query().Get("t")))
	if refusal != nil {
		return refusal
	}
	var pause <-chan time.Time
	if probed {
		timer := time.NewTimer(upgradePause)
		defer timer.Stop()
		pause = timer.C
	}
	end := false
	for {
		batch, refusal := s.collect(me, end)
		switch {
		case refusal != nil:
			return refusal
		case batch != nil:
			s.hold(r.Context(), x)
			s.deliver(w, r, batch)
			return nil
		}
		select {
		case <-me.woken:
		case <-pause:
			end = true
		case <-x.Ending:
			end = true
		case <-r.Context().Done():
			s.cancel(me)
			return nil
		}
	}
}

// park makes a GET the session's pending poll. probed reports that a websocket
// is about to replace it.
func (s *Session) park(x Exchange, stamp uint64) (me *pendingPoll, probed bool, refusal *protocolError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(time.Now())
	switch {
	case s.farewell:
		s.farewell = false
		s.server.wheel.remove(&s.timer)
		s.server.forget(s)
		return &pendingPoll{answer: noopPacket}, false, nil
	case s.conn != nil:
		return nil, false, errBadRequest
	case s.state == stateClosed:
		return nil, false, errUnknownSession
	case s.pending != nil, stamp != 0 && stamp == s.stamp:
		s.abort(TransportError, closePacket)
		return nil, false, errBadRequest
	}
	s.pending = &pendingPoll{woken: make(chan struct{}, 1), hold: x.Hold, stamp: stamp}
	return s.pending, s.probed, nil
}

// collect returns the packets that answer the poll, or nil if there are none
// yet. If end is true, it returns a noop instead of nil.
func (s *Session) collect(me *pendingPoll, end bool) ([]*Packet, *protocolError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch []*Packet
	switch {
	case me.refused:
		s.pending = nil
		return nil, errBadRequest
	case me.answer != nil:
		batch = []*Packet{me.answer}
	case s.state == stateClosing && len(s.queue) == 0:
		// A close goes out alone: stock clients act on it before the packets
		// beside it.
		batch = []*Packet{closePacket}
		s.state = stateClosed
		if s.probe != nil {
			reset(s.probe)
		}
		go s.finish()
	case len(s.queue) > 0:
		batch = s.takeQueue()
		s.stamp = me.stamp
	case end || me.noop:
		batch = []*Packet{noopPacket}
	default:
		return nil, nil
	}
	s.pending, s.answered = nil, time.Now()
	return batch, nil
}

// hold waits while answers are on hold.
func (s *Session) hold(ctx context.Context, x Exchange) {
	if !x.Hold.holds() {
		return
	}
	s.setHeld(true)
	x.hold(ctx)
	s.setHeld(false)
}

func (s *Session) setHeld(held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.answered = held, time.Now()
}

// cancel ends a session whose client gave up its poll, unless the poll was
// about to be refused anyway.
func (s *Session) cancel(me *pendingPoll) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = nil
	if !me.refused {
		s.abort(TransportError, closePacket)
	}
}

// deliver answers a poll. The packets count as queued until the answer is
// written.
func (s *Session) deliver(w http.ResponseWriter, r *http.Request, batch []*Packet) {
	err := r.Context().Err() // if the client has gone, a write can still seem to succeed
	if err == nil {
		if err = answer(w, s.server.cfg.Load().WriteTimeout, batch...); err != nil {
			defer abandon()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if s.conn == nil || batch[0] != noopPacket { // otherwise nothing is lost
			s.failWrite(err)
		}
		return
	}
	if first := batch[0]; first != noopPacket && first != closePacket { // these two were never queued
		s.queued -= sizes(batch)
		s.putSpare(batch)
	}
}

// answer writes packets as one payload.
func answer(w http.ResponseWriter, timeout time.Duration, packets ...*Packet) error {
	buffer := writeBuffers.Get().(*[]byte)
	defer writeBuffers.Put(buffer)
	body := (*buffer)[:0]
	for i, p := range packets {
		if i > 0 {
			body = append(body, separator)
		}
		body = p.appendPayload(body)
	}
	return respond(w, timeout, body)
}

// respond writes a complete answer within timeout.
func respond(w http.ResponseWriter, timeout time.Duration, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	// Not every writer supports deadlines.
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(timeout))
	defer func() { _ = rc.SetWriteDeadline(time.Time{}) }()
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// abandon aborts a request whose answer was not written in full. If its handler
// returned, HTTP/3 would end the partial answer as if it were complete.
func abandon() { panic(http.ErrAbortHandler) }

// limitBody bounds how long a request's body may take to arrive. Refused
// requests need it too, because net/http reads the rest of a body before it
// answers.
func (s *Server) limitBody(w http.ResponseWriter) {
	// Not every writer supports deadlines.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.cfg.Load().BodyTimeout))
}

// post handles the packets of a POST and answers it.
func (s *Session) post(w http.ResponseWriter, r *http.Request, x Exchange) *protocolError {
	cfg := s.server.cfg.Load()
	if refusal := s.takePost(w, r); refusal != nil {
		return refusal
	}
	x.hold(r.Context())
	if respond(w, cfg.WriteTimeout, []byte("ok")) != nil {
		s.Abort(TransportError)
		abandon()
	}
	return nil
}

// takePost handles the packets before the answer is written: once the client
// has the answer, it may send the next POST.
func (s *Session) takePost(w http.ResponseWriter, r *http.Request) *protocolError {
	if refusal := s.beginPost(); refusal != nil {
		return refusal
	}
	defer s.endPost()
	if !s.tally() { // even a POST without packets counts
		return s.endFlood()
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/octet-stream") {
		s.Abort(ParseError) // binary payloads ended with revision 3
		return errPayload
	}
	body, refusal := s.readBody(w, r, s.payloadBound())
	if refusal != nil {
		return refusal
	}
	return s.take(body)
}

// endFlood ends a session on polling whose client sends too many packets.
func (s *Session) endFlood() *protocolError {
	s.noteFlood()
	s.Abort(Flood)
	return errTooManyPackets
}

// beginPost ensures that a session has one POST at a time; otherwise its
// messages would have no order.
func (s *Session) beginPost() *protocolError {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(time.Now())
	switch {
	case s.state == stateClosed:
		return errUnknownSession
	case s.conn != nil:
		return errBadRequest
	case s.posting:
		s.abort(TransportError, closePacket)
		return errBadRequest
	}
	s.posting = true
	return nil
}

func (s *Session) endPost() {
	s.mu.Lock()
	s.posting = false
	s.mu.Unlock()
}

// readBody reads a POST of at most limit bytes, in the time set by limitBody.
func (s *Session) readBody(w http.ResponseWriter, r *http.Request, limit int) ([]byte, *protocolError) {
	if r.ContentLength > int64(limit) {
		return nil, tooLarge(limit)
	}
	body, err := readAll(r, limit)
	switch {
	case err != nil:
		s.Abort(TransportError)
		return nil, errPayload
	case len(body) > limit:
		return nil, tooLarge(limit)
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // see limitBody
	return body, nil
}

// maxDeclared is the largest body whose buffer is allocated by its declared
// length. A client can declare more than it sends, so larger buffers grow with
// the data that arrives.
const maxDeclared = 16 << 10

// readAll reads a body, but at most one byte more than limit.
func readAll(r *http.Request, limit int) ([]byte, error) {
	if r.ContentLength < 0 || r.ContentLength > maxDeclared {
		return io.ReadAll(io.LimitReader(r.Body, int64(limit)+1))
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	return body, err
}

// take hands on the packets of a POST one at a time, because a body can hold
// very many. The session ends at the first packet that is invalid or not
// allowed there.
func (s *Session) take(body []byte) *protocolError {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	first := true
	for p := range bytes.SplitSeq(body, []byte{separator}) {
		if !first && !s.tally() { // the first was counted with the POST
			return s.endFlood()
		}
		first = false
		switch {
		case len(p) == 0:
			return s.badPayload()
		case p[0] == typeMessage && utf8.Valid(p):
			s.receive(p[1:], false)
		case p[0] == typeBinary:
			data, err := base64.StdEncoding.AppendDecode(nil, p[1:])
			if err != nil {
				return s.badPayload()
			}
			s.receive(data, true)
		case p[0] == typePong:
			s.pong()
		case p[0] == typeClose:
			s.leave()
			return nil
		default:
			return s.badPayload()
		}
	}
	return nil
}

// badPayload ends a session whose client violates the protocol.
func (s *Session) badPayload() *protocolError {
	s.Abort(ParseError)
	return errPayload
}

// leave ends a session on polling that its client closed. The pending poll, or
// else the next one, is answered with a noop, because the client is still
// listening.
func (s *Session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateClosed {
		s.farewell = s.conn == nil && s.pending == nil
		s.abort(TransportClose, noopPacket)
	}
}
