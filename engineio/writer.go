package engineio

import (
	"bytes"
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
// once, which saves waking another; the rest is left to a writer. So Flush
// never blocks.
func (s *Session) Flush() {
	s.mu.Lock()
	conn, raw := s.conn, s.raw
	if n := len(s.queue); n > 0 && (n == 1 || s.queued <= writeSize) && s.state != stateClosed {
		batch := s.takeQueue()
		s.mu.Unlock()

		rest := tryWriteBatch(raw, batch)

		s.mu.Lock()
		s.queued -= sizes(batch)
		s.putSpare(batch)
		if rest != nil && s.state != stateClosed {
			s.queue = append([]*Packet{rest}, s.queue...)
			s.queued += rest.size()
		}
	}
	if len(s.queue) > 0 && s.state != stateClosed {
		go s.write(conn)
	} else {
		s.endWrite(conn)
	}
	s.mu.Unlock()
}

// tryWriteBatch writes what the kernel takes at once, and returns the rest, nil
// if there is none.
func tryWriteBatch(raw syscall.RawConn, batch []*Packet) *Packet {
	frame := batch[0].frame
	if len(batch) > 1 {
		buffer := writeBuffers.Get().(*[]byte)
		defer writeBuffers.Put(buffer)
		frame = (*buffer)[:0]
		for _, p := range batch {
			frame = append(frame, p.frame...)
		}
	}
	n := tryWrite(raw, frame)
	switch {
	case n == len(frame):
		return nil
	case len(batch) > 1:
		return &Packet{frame: bytes.Clone(frame[n:])}
	default:
		return &Packet{frame: frame[n:]}
	}
}

// failWrite ends the session after a failed write. It needs mu.
func (s *Session) failWrite(err error) {
	if s.state == stateClosed {
		return
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.server.stats.WriteTimeouts.Add(1)
		s.log("client cut off: a write timed out", zap.Int("queued", s.queued))
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
	b := (*buffer)[:0]
	for _, p := range batch {
		if len(b)+len(p.frame) > writeSize {
			if err := s.writeFrame(conn, b); err != nil {
				return err
			}
			b = b[:0]
		}
		if len(p.frame) > writeSize {
			if err := s.writeFrame(conn, p.frame); err != nil {
				return err
			}
			continue
		}
		b = append(b, p.frame...)
	}
	return s.writeFrame(conn, b)
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
