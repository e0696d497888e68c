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

// openPolling opens a session on long-polling. Its id is the answer.
func (s *Server) openPolling(w http.ResponseWriter, x Exchange) *protocolError {
	cfg := s.cfg.Load()
	session, refusal := s.register(x, cfg)
	if refusal != nil {
		return refusal
	}
	session.setHeld(false) // Settle waits for the first poll from now on
	session.startHeartbeat()
	if err := answer(w, cfg.WriteTimeout, session.openPacket("websocket")); err != nil {
		session.Abort(TransportError)
		abandon()
	}
	return nil
}

// A pendingPoll is a GET that waits for packets. Its own handler writes the
// answer: nothing else ever touches its ResponseWriter. The session's mu guards
// what others change of it.
type pendingPoll struct {
	woken   chan struct{}
	hold    *Hold   // see Exchange
	answer  *Packet // the last answer of a session that was closed
	noop    bool    // the poll is to end, with nothing if need be
	refused bool    // the session went over to a websocket
}

// wake has the handler look again.
func (p *pendingPoll) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// upgradePause is how long a poll waits while a websocket is probed, so that
// a client which polls on neither waits for long nor spins.
const upgradePause = 50 * time.Millisecond

// poll answers a GET with what is queued, as soon as something is.
func (s *Session) poll(w http.ResponseWriter, r *http.Request, x Exchange) *protocolError {
	me, probed, refusal := s.park(x)
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

// park makes a GET the session's pending poll. probed says that a websocket is
// about to take its place.
func (s *Session) park(x Exchange) (me *pendingPoll, probed bool, refusal *protocolError) {
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
	case s.pending != nil:
		s.abort(TransportError, closePacket)
		return nil, false, errBadRequest
	}
	s.pending = &pendingPoll{woken: make(chan struct{}, 1), hold: x.Hold}
	return s.pending, s.probed, nil
}

// collect takes what the poll is to be answered with, nil while there is
// nothing. end makes that a noop.
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
		// Alone: stock clients act on a close before what came beside it.
		batch = []*Packet{closePacket}
		s.state = stateClosed
		if s.probe != nil {
			reset(s.probe)
		}
		go s.finish()
	case len(s.queue) > 0:
		batch = s.takeQueue()
	case end || me.noop:
		batch = []*Packet{noopPacket}
	default:
		return nil, nil
	}
	s.pending, s.answered = nil, time.Now()
	return batch, nil
}

// hold waits while the answer to a poll is held.
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

// cancel ends a session whose client gave its poll up, unless that was refused
// anyway.
func (s *Session) cancel(me *pendingPoll) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = nil
	if !me.refused {
		s.abort(TransportError, closePacket)
	}
}

// deliver answers a poll. What is in the answer counts as queued until it is
// written.
func (s *Session) deliver(w http.ResponseWriter, r *http.Request, batch []*Packet) {
	err := r.Context().Err() // a client that has gone may seem to take an answer
	if err == nil {
		if err = answer(w, s.server.cfg.Load().WriteTimeout, batch...); err != nil {
			defer abandon()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if s.conn == nil || batch[0] != noopPacket { // else nothing is lost
			s.failWrite(err)
		}
		return
	}
	if first := batch[0]; first != noopPacket && first != closePacket { // which were not queued
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

// respond writes a whole answer within a time.
func respond(w http.ResponseWriter, timeout time.Duration, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	// A writer without deadlines has none to keep.
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

// abandon ends a request whose answer did not go out whole. If its handler
// returned, HTTP/3 would end the part that did as if it were the whole.
func abandon() { panic(http.ErrAbortHandler) }

// limitBody bounds how long a request's body may take to arrive. A refusal
// needs that too: net/http reads what is left of a body before it answers.
func (s *Server) limitBody(w http.ResponseWriter) {
	// A writer without deadlines has none to keep.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.cfg.Load().BodyTimeout))
}

// post takes the packets of a POST.
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

// takePost takes the packets before there is an answer: whoever has that may
// send the next POST at once.
func (s *Session) takePost(w http.ResponseWriter, r *http.Request) *protocolError {
	if refusal := s.beginPost(); refusal != nil {
		return refusal
	}
	defer s.endPost()
	if !s.tally() { // also of a POST that holds nothing to be counted
		return s.endFlood()
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/octet-stream") {
		s.Abort(ParseError) // binary payloads went with revision 3
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

// beginPost makes sure that a session has one POST at a time, without which
// its messages had no order.
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

// readBody reads a POST of at most limit bytes, in the time that limitBody set.
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

// maxDeclared is the largest body for which a buffer is made as its length is
// declared. A client may declare more than it sends, so larger ones grow with
// what arrives.
const maxDeclared = 16 << 10

// readAll reads a body, and no more than a byte over limit.
func readAll(r *http.Request, limit int) ([]byte, error) {
	if r.ContentLength < 0 || r.ContentLength > maxDeclared {
		return io.ReadAll(io.LimitReader(r.Body, int64(limit)+1))
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	return body, err
}

// take hands the packets of a POST on, one by one, as a body may hold a great
// many. The session ends at the first that is none, or has no place there.
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

// badPayload ends a session whose client does not speak the protocol.
func (s *Session) badPayload() *protocolError {
	s.Abort(ParseError)
	return errPayload
}

// leave ends a session on polling whose client closed it. A poll that waits,
// or the next one, is answered with a noop, as its client still listens.
func (s *Session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateClosed {
		s.farewell = s.conn == nil && s.pending == nil
		s.abort(TransportClose, noopPacket)
	}
}
