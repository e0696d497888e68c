package engineio

import (
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// Reason says why a session ended, in Socket.IO's words where it has some.
type Reason string

// The reasons that this package gives; callers of Close may give their own.
const (
	TransportClose Reason = "transport close"
	TransportError Reason = "transport error"
	PingTimeout    Reason = "ping timeout"
	ParseError     Reason = "parse error"
	ForcedClose    Reason = "forced close"
	ServerShutdown Reason = "server shutting down"

	// SlowClient ends a client whose queue is full or whose write timed out.
	SlowClient Reason = "slow client"

	// Flood ends a client that sends too many packets.
	Flood Reason = "flood"
)

// state of a session; it only goes forward.
type state uint8

const (
	// stateOpen: messages pass.
	stateOpen state = iota

	// stateClosing: the client is still to be told, and gets what is queued.
	stateClosing

	// stateClosed: nothing is sent or received any more.
	stateClosed
)

// lingerTime is how long a session that is over waits for its client to have
// heard of it.
const lingerTime = time.Second

// A Session is one Engine.IO client, over whichever transport it is on. All
// its methods may be called concurrently, also by its Receiver.
type Session struct {
	server   *Server
	id       string
	data     any
	receiver Receiver // set under receiving, before anything is read
	interval time.Duration
	timeout  time.Duration
	timer    timer // of the server's wheel, which guards it

	maxPayload int // what the client was told

	writeBy time.Time // the websocket's write deadline; belongs to whoever set writing, before that to the probe

	receiving sync.Mutex // held while the receiver is called

	bound atomic.Int64 // see Bound; 0 is maxPayload

	mu     sync.Mutex // guards all below; never held while waiting, writing to a client or in a receiver
	state  state
	reason Reason

	queue  []*Packet // what waits for the client, in order
	spare  []*Packet // an empty queue for reuse
	queued int       // bytes in the queue and in the write under way

	maxQueue int // see Bound; 0 is the server's

	conn    net.Conn        // the websocket, nil while the session is on polling
	raw     syscall.RawConn // its descriptor for Flush, nil if its bytes take another way
	writing bool            // a writer runs, or a Flush is owed
	written chan struct{}   // if not nil, closed when the writer ends

	pending   *pendingPoll // the GET that waits for a packet
	held      bool         // its answer is, see Exchange.Hold
	answered  time.Time    // when the last was taken, or the session opened; zero on a websocket
	posting   bool         // a POST is under way
	farewell  bool         // the client closed and its next poll is to be answered
	upgrading bool         // a websocket is probed
	probe     net.Conn     // the probed websocket
	probed    bool         // the probe was answered: polls are to end

	pinged   bool      // a ping waits for its pong
	excused  bool      // the pong has more time, if the process was stopped: not twice
	nextPing time.Time // when the next ping is due
	due      time.Time // when its pong is due, or the end of a session that is closing

	windowEnd time.Duration // when packets are counted anew, since the server began
	packets   int32         // how many came since the window began
}

// ID is the session's id, a secret between the server and its client.
func (s *Session) ID() string { return s.id }

// Data is what Exchange.Data held when the session was opened.
func (s *Session) Data() any { return s.data }

// Transport is "polling" or "websocket".
func (s *Session) Transport() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		return "websocket"
	}
	return "polling"
}

// Send queues packets for the client, in order and with nothing in between. It
// never blocks. It is false when the session has ended, which it may just have
// done for a full queue.
func (s *Session) Send(packets ...*Packet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.push(packets) {
		return false
	}
	s.wake()
	return true
}

// Queue is Send for a caller that calls Flush if Queue returns true, and soon:
// until then nobody else writes. Between the two it may let go of what the
// write is not to wait behind, and queue packets for other sessions.
func (s *Session) Queue(p *Packet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.push([]*Packet{p}) || s.writing {
		return false
	}
	if s.conn == nil {
		s.wake()
		return false
	}
	s.writing = true
	return true
}

// push queues packets of an open session, and cuts off its client if they are
// too many. It needs mu.
func (s *Session) push(packets []*Packet) bool {
	if s.state != stateOpen {
		return false
	}
	size := sizes(packets)
	// One message may be larger than the bound when nothing else waits.
	if s.queued > 0 && s.queued+size > s.queueBound() {
		s.server.stats.Overflows.Add(1)
		s.log(cutoffQueueFull, zap.Int("queued", s.queued), zap.Int("packet", size))
		s.abort(SlowClient, closePacket)
		return false
	}
	s.queue = append(s.queue, packets...)
	s.queued += size
	return true
}

// Bound holds the session to less than the server's MaxPayload and MaxQueue, as
// suits a client that has not said who it is; 0 lifts a bound. It is for what is
// received and sent from then on.
func (s *Session) Bound(maxPayload, maxQueue int) {
	s.bound.Store(int64(maxPayload))
	s.mu.Lock()
	s.maxQueue = maxQueue
	s.mu.Unlock()
}

// queueBound needs mu.
func (s *Session) queueBound() int {
	bound := s.server.cfg.Load().MaxQueue
	if s.maxQueue > 0 {
		bound = min(bound, s.maxQueue)
	}
	return bound
}

// payloadBound bounds what is received next.
func (s *Session) payloadBound() int {
	if bound := int(s.bound.Load()); bound > 0 {
		return min(bound, s.maxPayload)
	}
	return s.maxPayload
}

// enqueue appends packets and wakes whoever can carry them. It needs mu.
func (s *Session) enqueue(size int, packets ...*Packet) {
	s.queue = append(s.queue, packets...)
	s.queued += size
	s.wake()
}

// wake has whoever can carry the queue do so. It needs mu.
func (s *Session) wake() {
	switch {
	case s.conn != nil:
		if !s.writing {
			s.writing = true
			go s.write(s.conn)
		}
	case s.pending != nil:
		s.pending.wake()
	}
}

// adopt makes a websocket the session's transport, for packets of its own and
// then what has waited. It needs mu.
func (s *Session) adopt(conn net.Conn, first ...*Packet) {
	s.conn, s.raw = conn, rawConn(conn)
	s.queue = append(first, s.queue...)
	if s.state == stateClosing { // closed while nothing could carry the news
		first = append(first, closeFrame(s.reason.code()))
		s.queue = append(s.queue, first[len(first)-1])
	}
	if len(s.queue) > 0 {
		s.enqueue(sizes(first))
	}
}

// takeQueue empties the queue. It needs mu.
func (s *Session) takeQueue() []*Packet {
	batch := s.queue
	s.queue, s.spare = s.spare, nil
	return batch
}

// maxSpare is the longest queue that an idle session keeps for reuse.
const maxSpare = 16

// putSpare keeps an emptied queue for reuse. It needs mu.
func (s *Session) putSpare(batch []*Packet) {
	if s.spare == nil && cap(batch) <= maxSpare {
		clear(batch)
		s.spare = batch[:0]
	}
}

// Close ends the session in order: what is queued is written first, then the
// client sees its transport close. The Receiver is told from elsewhere, never
// within the call.
func (s *Session) Close(reason Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close(reason, reason.code())
}

// code is what a websocket is closed with.
func (r Reason) code() closeCode {
	if r == ServerShutdown {
		return closeGoingAway
	}
	return closeNormal
}

// close is Close with the status code that a websocket is closed with. It
// needs mu.
func (s *Session) close(reason Reason, code closeCode) {
	if s.state != stateOpen {
		return
	}
	s.state, s.reason = stateClosing, reason
	if s.probe != nil && !s.probed {
		reset(s.probe)
	}
	if s.conn != nil {
		p := closeFrame(code)
		s.enqueue(p.size(), p)
	} else if s.pending != nil {
		s.pending.wake()
	}
	s.due = time.Now().Add(s.server.cfg.Load().WriteTimeout + lingerTime)
	s.server.wheel.schedule(&s.timer, s.due)
}

// Abort ends the session at once: what is queued is dropped.
func (s *Session) Abort(reason Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abort(reason, closePacket)
}

// abort is Abort with the answer to a poll that waits. It needs mu.
func (s *Session) abort(reason Reason, answer *Packet) {
	if s.state == stateClosed {
		return
	}
	if s.state == stateOpen {
		s.reason = reason
	}
	s.state, s.queue = stateClosed, nil
	if s.probe != nil {
		reset(s.probe)
	}
	if s.conn != nil {
		if reason == SlowClient || reason == PingTimeout {
			discard(s.conn)
		}
		reset(s.conn) // its reader ends, and finishes the session
		return
	}
	if s.pending != nil {
		s.pending.answer = answer
		s.pending.wake()
	}
	go s.finish()
}

// finish tells the receiver that the session is over. It is called once: by the
// reader of a websocket, and for a session on polling by whoever closed it.
func (s *Session) finish() {
	s.mu.Lock()
	s.state = stateClosed
	farewell, reason := s.farewell, s.reason
	s.mu.Unlock()
	if farewell {
		s.server.wheel.schedule(&s.timer, time.Now().Add(lingerTime))
	} else {
		s.server.wheel.remove(&s.timer)
		s.server.forget(s)
	}
	s.receiving.Lock()
	if s.receiver != nil { // else accept panicked
		s.guard(func() { s.receiver.Closed(reason) })
	}
	s.receiving.Unlock()
	s.server.live.Add(-1)
	s.server.open.Done()
}

// receive hands one message to the receiver, unless the session has ended. It
// needs receiving.
func (s *Session) receive(payload []byte, binary bool) {
	s.mu.Lock()
	open := s.state == stateOpen
	s.mu.Unlock()
	if !open {
		return
	}
	s.guard(func() {
		if binary {
			s.receiver.Binary(payload)
		} else {
			s.receiver.Text(payload)
		}
	})
}

// guard keeps a panic of one session's receiver from ending the process, and
// with it every other session.
func (s *Session) guard(call func()) {
	defer func() {
		if p := recover(); p != nil {
			s.server.cfg.Load().Logger.Error("panic in a session", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			s.Abort(ForcedClose)
		}
	}()
	call()
}

// reset closes a connection without a word, so that it never blocks: closing a
// TLS connection would first write an alert to a client that may not read.
func reset(conn net.Conn) { _ = transport(conn).Close() }

// discard has the kernel drop what it holds for a client when the connection is
// closed. For one that does not take it that may be megabytes, which otherwise
// stay for minutes, or for hours if it takes a byte now and then.
func discard(conn net.Conn) {
	if tcp, ok := transport(conn).(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0) // one that is closed holds nothing
	}
}

// transport is what is below TLS.
func transport(conn net.Conn) net.Conn {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return secure.NetConn()
	}
	return conn
}
