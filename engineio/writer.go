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

// writeSize is how much of a queue goes out in one write, in bytes. Larger
// packets are written alone, without a copy.
const writeSize = 64 << 10

// writeBuffers holds buffers of writeSize for queues of several packets.
var writeBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, writeSize)
	return &b
}}

// write sends the queue to the websocket until nothing waits. It runs only
// while there is something to write; all that queues up behind a write goes
// out together in the next.
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

// endWrite ends what began with writing being set. It needs mu.
func (s *Session) endWrite(conn net.Conn) {
	s.writing = false
	if s.state == stateClosing {
		// The close frame is out; the reader waits for the client's a while.
		_ = conn.SetReadDeadline(time.Now().Add(lingerTime))
	}
	if s.written != nil {
		close(s.written)
	}
}

// Flush writes what is queued, for a caller to whom Queue returned true. It
// goes out from the caller's own goroutine, as far as the kernel takes it at
// once, which saves waking another; the rest, and everything over TLS, is left
// to a writer. So Flush never blocks. If begun is not nil, a writer that has
// the whole to do is in it until it runs.
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

// tryWrite writes what is queued, as far as the kernel takes it at once, and
// leaves the rest in the queue. It needs mu, and gives it back meanwhile.
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
	if s.state != stateClosed { // else the queue was dropped meanwhile
		s.queue = append(rest, s.queue...)
	}
}

// tryWriteBatch writes what the kernel takes at once. It returns how many
// packets that was, and how many bytes of the next.
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

// nextWrite is what goes out in one write: as many packets as fit into a
// buffer, or one that is not copied.
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

// progress is how many packets n bytes are, and how many bytes of the next.
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

// failWrite ends the session after a failed write. It needs mu.
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

// writeFrame is one write with a deadline. That is set anew only when less
// than the timeout is left of it, as setting it for each write would be a
// twentieth of what a small one costs: a write has the timeout, and a quarter
// more at most.
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
