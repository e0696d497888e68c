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

// Reason says why a session ended, in Socket.IO's terms where they exist.
type Reason string

// The reasons that this package gives; callers of Close can pass their own.
const (
	TransportClose Reason = "transport close"
	TransportError Reason = "transport error"
	PingTimeout    Reason = "ping timeout"
	ParseError     Reason = "parse error"
	ForcedClose    Reason = "forced close"
	ServerShutdown Reason = "server shutting down"

	// SlowClient means that the client's queue is full or that a write timed
	// out.
	SlowClient Reason = "slow client"

	// Flood means that the client sends too many packets.
	Flood Reason = "flood"
)

// state is the state of a session. It only moves forward.
type state uint8

const (
	// stateOpen: messages pass.
	stateOpen state = iota

	// stateClosing: the client still gets what is queued, and then the close.
	stateClosing

	// stateClosed: nothing is sent or received any more.
	stateClosed
)

// lingerTime is how long an ended session waits for its client to learn of it.
const lingerTime = time.Second

// A Session is an Engine.IO session with one client, on either transport. All
// its methods may be called concurrently, including by its Receiver.
type Session struct {
	server   *Server
	id       string
	data     any
	receiver Receiver // set under receiving, before anything is read
	interval time.Duration
	timeout  time.Duration
	timer    timer // guarded by the server's wheel

	maxPayload int // what the handshake told the client

	writeBy time.Time // the websocket's write deadline; owned by whatever set writing, before that by the probe

	receiving sync.Mutex // held while the receiver is called

	bound atomic.Int64 // see Bound; 0 means maxPayload

	mu     sync.Mutex // guards everything below; never held while waiting, writing or calling a receiver
	state  state
	reason Reason

	queue  []*Packet // packets for the client, in order
	spare  []*Packet // an empty queue for reuse
	queued int       // bytes in the queue and in the write in progress

	maxQueue int // see Bound; 0 means the server's

	conn    net.Conn        // the websocket, nil while the session is on polling
	raw     syscall.RawConn // conn's descriptor for Flush, nil if writes must go through conn
	writing bool            // a writer is running, or the caller of Queue is about to call Flush
	written chan struct{}   // if not nil, closed when the writer ends

	pending   *pendingPoll // the GET that is waiting for packets
	held      bool         // a poll's answer is on hold, see Exchange.Hold
	answered  time.Time    // when the last answer was taken, or the session opened; zero on a websocket
	stamp     uint64       // stampOf the last poll that got packets
	posting   bool         // a POST is in progress
	farewell  bool         // the client closed; its next poll still gets an answer
	upgrading bool         // a websocket is being probed
	probe     net.Conn     // the websocket being probed
	probed    bool         // the probe was answered, so polls must end

	pinged   bool      // a ping is waiting for its pong
	excused  bool      // the pong got extra time if the process was stopped; it never does twice
	nextPing time.Time // when the next ping is due
	due      time.Time // deadline of the pong, or of a session that is closing

	windowEnd time.Duration // when the packet count starts again, as time since server.began
	packets   int32         // packets received since the window began
}

// ID returns the session's id, a secret between the server and its client.
func (s *Session) ID() string { return s.id }

// Data returns what Exchange.Data held when the session was opened.
func (s *Session) Data() any { return s.data }

// Transport returns "polling" or "websocket".
func (s *Session) Transport() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		return "websocket"
	}
	return "polling"
}

// Send queues packets for the client, in order and with nothing in between. It
// never blocks. It returns false if the session has ended, possibly just now
// because its queue is full.
func (s *Session) Send(packets ...*Packet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.push(packets) {
		return false
	}
	s.wake()
	return true
}

// Queue is Send for a caller that writes by itself: if Queue returns true, the
// caller must call Flush soon, and nothing else writes until then. In between,
// it can release locks that it should not hold during the write, and queue
// packets for other sessions.
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

// push queues packets if the session is open, and cuts off a client whose queue
// overflows. The caller holds mu.
func (s *Session) push(packets []*Packet) bool {
	if s.state != stateOpen {
		return false
	}
	size := sizes(packets)
	// A single message may exceed the bound if nothing else is queued.
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

// Bound gives the session lower limits than the server's MaxPayload and
// MaxQueue, for a client that is not authenticated yet; 0 lifts a limit. It
// applies to everything received and sent from then on.
func (s *Session) Bound(maxPayload, maxQueue int) {
	s.bound.Store(int64(maxPayload))
	s.mu.Lock()
	s.maxQueue = maxQueue
	s.mu.Unlock()
}

// queueBound returns the limit of the queue, in bytes. The caller holds mu.
func (s *Session) queueBound() int {
	bound := s.server.cfg.Load().MaxQueue
	if s.maxQueue > 0 {
		bound = min(bound, s.maxQueue)
	}
	return bound
}

// payloadBound returns the limit of the next message received, in bytes.
func (s *Session) payloadBound() int {
	if bound := int(s.bound.Load()); bound > 0 {
		return min(bound, s.maxPayload)
	}
	return s.maxPayload
}

// enqueue appends packets and wakes the transport. The caller holds mu.
func (s *Session) enqueue(size int, packets ...*Packet) {
	s.queue = append(s.queue, packets...)
	s.queued += size
	s.wake()
}

// wake makes a writer or the pending poll send the queue. The caller holds mu.
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

// adopt makes a websocket the session's transport. It sends the packets in
// first, then those that were queued. The caller holds mu.
func (s *Session) adopt(conn net.Conn, first ...*Packet) {
	s.conn, s.raw = conn, rawConn(conn)
	s.queue = append(first, s.queue...)
	if s.state == stateClosing { // closed while there was no transport to say so
		first = append(first, closeFrame(s.reason.code()))
		s.queue = append(s.queue, first[len(first)-1])
	}
	if len(s.queue) > 0 {
		s.enqueue(sizes(first))
	}
}

// takeQueue empties the queue and returns its packets. The caller holds mu.
func (s *Session) takeQueue() []*Packet {
	batch := s.queue
	s.queue, s.spare = s.spare, nil
	return batch
}

// maxSpare is the longest queue that an idle session keeps for reuse.
const maxSpare = 16

// putSpare keeps an emptied queue for reuse. The caller holds mu.
func (s *Session) putSpare(batch []*Packet) {
	if s.spare == nil && cap(batch) <= maxSpare {
		clear(batch)
		s.spare = batch[:0]
	}
}

// Close ends the session in order: queued packets are written first, then the
// client sees its transport close. The Receiver is told from another goroutine,
// never within the call.
func (s *Session) Close(reason Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close(reason, reason.code())
}

// code returns the status code that a websocket is closed with.
func (r Reason) code() closeCode {
	if r == ServerShutdown {
		return closeGoingAway
	}
	return closeNormal
}

// close is Close with the status code for a websocket. The caller holds mu.
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

// Abort ends the session at once and drops what is queued.
func (s *Session) Abort(reason Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abort(reason, closePacket)
}

// abort is Abort with the answer to a pending poll. The caller holds mu.
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
		reset(s.conn) // its reader then ends and finishes the session
		return
	}
	if s.pending != nil {
		s.pending.answer = answer
		s.pending.wake()
	}
	go s.finish()
}

// finish tells the receiver that the session is over. It is called once: by the
// reader of a websocket or, on polling, by the function that closed the
// session.
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
	if s.receiver != nil { // nil if accept panicked
		s.guard(func() { s.receiver.Closed(reason) })
	}
	s.receiving.Unlock()
	s.server.live.Add(-1)
	s.server.open.Done()
}

// receive hands one message to the receiver, unless the session has ended. The
// caller holds receiving.
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

// guard keeps a panic in one session's receiver from ending the process, and
// every other session with it.
func (s *Session) guard(call func()) {
	defer func() {
		if p := recover(); p != nil {
			s.server.cfg.Load().Logger.Error("panic in a session", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			s.Abort(ForcedClose)
		}
	}()
	call()
}

// reset closes a connection without sending anything, so that it never blocks:
// closing a TLS connection would first write an alert to a client that may not
// be reading.
func reset(conn net.Conn) { _ = transport(conn).Close() }

// discard makes the kernel drop unsent data when the connection is closed. For
// a client that does not read, that can be megabytes, which would otherwise
// stay for minutes, or for hours if the client reads a byte now and then.
func discard(conn net.Conn) {
	if tcp, ok := transport(conn).(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0) // a closed connection holds nothing
	}
}

// transport returns the connection below TLS.
func transport(conn net.Conn) net.Conn {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return secure.NetConn()
	}
	return conn
}
