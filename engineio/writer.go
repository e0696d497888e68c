package engineio

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// writeSize bounds how much of a queue one write sends, in bytes. Larger
// packets are written alone, without a copy.
const writeSize = 64 << 10

// writeBuffers holds buffers of writeSize for queues of several packets.
var writeBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, writeSize)
	return &b
}}

// write sends the queue to the websocket until the queue is empty. It runs only
// while there is something to write. Packets that are queued during a write go
// out together in the next one.
func (s *Session) write(conn net.Conn) {
	s.mu.Lock()
	for {
		if len(s.queue) == 0 || s.state == stateClosed {
			break
		}
		batch := s.takeQueue()
		s.mu.Unlock()

		err := s.writeBatch(conn, batch)

		s.mu.Lock()
		s.queued -= sizes(batch)
		s.putSpare(batch)
		if err != nil {
			s.failWrite(err)
			break
		}
	}
	s.endWrite(conn)
	s.mu.Unlock()
}

// endWrite marks the end of a writer or a Flush. The caller holds mu.
func (s *Session) endWrite(conn net.Conn) {
	s.writing = false
	if s.state == stateClosing {
		// The close frame is sent; the reader waits lingerTime for the
		// client's.
		_ = conn.SetReadDeadline(time.Now().Add(lingerTime))
	}
	if s.written != nil {
		close(s.written)
	}
}

// Flush writes what is queued, for a caller to whom Queue returned true. It
// writes as much as the kernel accepts at once from the caller's own goroutine,
// which saves waking another. A writer goroutine sends the rest, and everything
// over TLS. So Flush never blocks. If begun is not nil, a writer that has
// everything to send is in begun until it runs.
func (s *Session) Flush(begun *sync.WaitGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn := s.conn
	if s.raw == nil && begun != nil {
		begun.Add(1)
		go func() {
			begun.Done()
			s.write(conn)
		}()
		return
	}
	if s.raw != nil && len(s.queue) > 0 && s.state != stateClosed {
		s.tryWrite()
	}
	if len(s.queue) > 0 && s.state != stateClosed {
		go s.write(conn)
	} else {
		s.endWrite(conn)
	}
}

// tryWrite writes as much of the queue as the kernel accepts at once, and
// leaves the rest in the queue. The caller holds mu, which is released during
// the write.
func (s *Session) tryWrite() {
	raw, batch := s.raw, s.takeQueue()
	s.mu.Unlock()
	written, part := tryWriteBatch(raw, batch)
	s.mu.Lock()
	s.queued -= sizes(batch[:written])
	clear(batch[:written])
	rest := batch[written:]
	if len(rest) == 0 {
		s.putSpare(batch)
		return
	}
	if part > 0 {
		s.queued -= rest[0].size()
		rest[0] = &Packet{frame: rest[0].frame[part:]}
		s.queued += rest[0].size()
	}
	if s.state != stateClosed { // otherwise the queue was dropped meanwhile
		s.queue = append(rest, s.queue...)
	}
}

// tryWriteBatch writes as much as the kernel accepts at once. It returns the
// number of packets written in full, and how many bytes of the next.
func tryWriteBatch(raw syscall.RawConn, batch []*Packet) (written, part int) {
	if len(batch) == 1 {
		return progress(batch, tryWrite(raw, batch[0].frame))
	}
	buffer := writeBuffers.Get().(*[]byte)
	defer writeBuffers.Put(buffer)
	for part == 0 && written < len(batch) {
		var packets int
		packets, part = progress(batch[written:], tryWrite(raw, nextWrite(*buffer, batch[written:])))
		if packets == 0 {
			break
		}
		written += packets
	}
	return written, part
}

// nextWrite returns the bytes of one write: as many packets as fit into the
// buffer, or a single packet that is not copied.
func nextWrite(buffer []byte, batch []*Packet) []byte {
	if len(batch) == 1 || len(batch[0].frame)+len(batch[1].frame) > writeSize {
		return batch[0].frame
	}
	b := buffer[:0]
	for _, p := range batch {
		if len(b)+len(p.frame) > writeSize {
			break
		}
		b = append(b, p.frame...)
	}
	return b
}

// progress splits n bytes into whole packets and bytes of the next.
func progress(batch []*Packet, n int) (packets, part int) {
	for _, p := range batch {
		if n < len(p.frame) {
			return packets, n
		}
		n -= len(p.frame)
		packets++
	}
	return packets, 0
}

// failWrite ends the session after a failed write. The caller holds mu.
func (s *Session) failWrite(err error) {
	if s.state == stateClosed {
		return
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.server.stats.WriteTimeouts.Add(1)
		s.log(cutoffWriteTimeout, zap.Int("queued", s.queued))
		s.abort(SlowClient, closePacket)
		return
	}
	s.abort(TransportError, closePacket)
}

// writeBatch writes packets in as few writes as writeSize allows.
func (s *Session) writeBatch(conn net.Conn, batch []*Packet) error {
	if len(batch) == 1 {
		return s.writeFrame(conn, batch[0].frame)
	}
	buffer := writeBuffers.Get().(*[]byte)
	defer writeBuffers.Put(buffer)
	for len(batch) > 0 {
		b := nextWrite(*buffer, batch)
		if err := s.writeFrame(conn, b); err != nil {
			return err
		}
		packets, _ := progress(batch, len(b))
		batch = batch[packets:]
	}
	return nil
}

// writeFrame performs one write with a deadline. It renews the deadline only if
// less than the timeout is left, because setting it for each write would be a
// twentieth of the cost of a small one. So a write has the timeout, and at most
// a quarter more.
func (s *Session) writeFrame(conn net.Conn, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	now, timeout := time.Now(), s.server.cfg.Load().WriteTimeout
	if s.writeBy.Sub(now) < timeout {
		s.writeBy = now.Add(timeout + timeout/4)
		if err := conn.SetWriteDeadline(s.writeBy); err != nil {
			return err
		}
	}
	_, err := conn.Write(b)
	return err
}
