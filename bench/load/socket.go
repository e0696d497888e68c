package load

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A socket is one subscriber. It parses frames and no JSON.
type socket struct {
	conn    net.Conn
	dialect Dialect
	crowd   *Crowd

	buf        []byte
	start, end int // of what was read and not consumed
	sampled    bool
	handshake  *bufio.Reader

	client *Client // nil unless what arrives is compared

	mu        sync.Mutex // guards latencies
	latencies []int64
}

// connectTimeout is a hundred times what it takes when 64 connect at a time.
const connectTimeout = 5 * time.Second

// dialSocket returns a socket that is connected and subscribed. Like the stock
// client it waits for each answer before it goes on.
func dialSocket(t *Target, channel string, timeout time.Duration) (*socket, error) {
	return dialWith(t, timeout, func(s *socket) error { return s.open(t, channel) })
}

// dialWith returns a socket that open has made ready.
func dialWith(t *Target, timeout time.Duration, open func(*socket) error) (*socket, error) {
	conn, err := t.dial()
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn, dialect: t.Dialect, handshake: bufio.NewReaderSize(conn, 2048)}
	_ = conn.SetDeadline(time.Now().Add(timeout))
	if err := open(s); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	_ = conn.SetDeadline(time.Time{})
	s.buf = make([]byte, 4096)
	s.end, _ = io.ReadFull(s.handshake, s.buf[:s.handshake.Buffered()])
	s.handshake = nil
	return s, nil
}

// refused is the status of an answer that is no websocket.
type refused int

func (r refused) Error() string { return fmt.Sprintf("handshake: status %d", int(r)) }

func (s *socket) open(t *Target, channel string) error {
	if err := s.upgrade(t); err != nil {
		return err
	}
	if t.Dialect == Centrifuge {
		if _, err := s.ask(`{"id":1,"connect":{}}`, `"id":1,"connect"`); err != nil {
			return err
		}
		_, err := s.ask(`{"id":2,"subscribe":{"channel":"`+channel+`"}}`, `"id":2,"subscribe"`)
		return err
	}
	if _, err := s.connect(t.Auth); err != nil {
		return err
	}
	return s.subscribe(channel)
}

func (s *socket) upgrade(t *Target) error {
	path := "/socket.io/?EIO=4&transport=websocket"
	if t.Dialect == Centrifuge {
		path = "/connection/websocket"
	}
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	if _, err := io.WriteString(s.conn, "GET "+path+" HTTP/1.1\r\nHost: "+t.Addr+"\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: "+base64.StdEncoding.EncodeToString(nonce[:])+"\r\n\r\n"); err != nil {
		return err
	}
	answer, err := http.ReadResponse(s.handshake, nil)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	_ = answer.Body.Close() // there is none, or it is of no interest
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return refused(answer.StatusCode)
	}
	return nil
}

// connect returns the answer to a Socket.IO CONNECT.
func (s *socket) connect(auth string) ([]byte, error) {
	if _, err := s.ask("", `0{`); err != nil {
		return nil, err
	}
	return s.ask("40"+auth, `40{`)
}

func (s *socket) subscribe(channel string) error {
	_, err := s.ask(`42["subscribe","`+channel+`"]`, `42["subscribed"`)
	return err
}

// ask sends a message, if any, and waits for the answer that contains what is
// expected. Heartbeats and deliveries to others may come before.
func (s *socket) ask(message, expected string) ([]byte, error) {
	if message != "" {
		if _, err := s.conn.Write(clientFrame(opText, message)); err != nil {
			return nil, err
		}
	}
	for {
		payload, err := s.readFrame()
		if err != nil {
			return nil, fmt.Errorf("waiting for %q: %w", expected, err)
		}
		if bytes.Contains(payload, []byte(expected)) {
			return payload, nil
		}
		if bytes.HasPrefix(payload, []byte("44")) || bytes.Contains(payload, []byte(`"error"`)) || bytes.Contains(payload, []byte("_error")) {
			return nil, fmt.Errorf("waiting for %q: %s", expected, payload)
		}
	}
}

func (s *socket) readFrame() ([]byte, error) {
	head, err := s.handshake.Peek(2)
	if err != nil {
		return nil, err
	}
	if head[1] == 126 {
		if head, err = s.handshake.Peek(4); err != nil {
			return nil, err
		}
	}
	_, size, payload, ok := parseHeader(head)
	if !ok {
		return nil, errors.New("a frame that is too long")
	}
	if _, err := s.handshake.Discard(payload); err != nil {
		return nil, err
	}
	body := make([]byte, size)
	_, err = io.ReadFull(s.handshake, body)
	return body, err
}

const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// parseHeader reads a server's frame header: where the payload starts and how
// long it is. It is not ok if the header is not whole.
func parseHeader(b []byte) (op byte, size, payload int, ok bool) {
	if len(b) < 2 {
		return 0, 0, 0, false
	}
	switch n := int(b[1]); {
	case n < 126:
		return b[0] & 15, n, 2, true
	case n == 126 && len(b) >= 4:
		return b[0] & 15, int(binary.BigEndian.Uint16(b[2:])), 4, true
	case n == 127 && len(b) >= 10:
		return b[0] & 15, int(binary.BigEndian.Uint64(b[2:])), 10, true
	}
	return 0, 0, 0, false
}

// clientFrame is a short message, masked with zeros.
func clientFrame(op byte, message string) []byte {
	frame := []byte{0x80 | op}
	if n := len(message); n < 126 {
		frame = append(frame, 0x80|byte(n))
	} else {
		frame = append(frame, 0x80|126, byte(n>>8), byte(n))
	}
	frame = append(frame, 0, 0, 0, 0)
	return append(frame, message...)
}

// read counts deliveries until the connection ends.
func (s *socket) read() {
	defer s.crowd.ended()
	for {
		deliveries, ok := s.consume()
		if deliveries > 0 {
			s.crowd.delivered(deliveries)
		}
		if !ok {
			return
		}
		n, err := s.conn.Read(s.buf[s.end:])
		if err != nil {
			return
		}
		s.end += n
	}
}

// consume goes through the frames in the buffer and makes room for more.
func (s *socket) consume() (deliveries int64, ok bool) {
	at := int64(0)
	if s.sampled {
		at = now()
	}
	for {
		b := s.buf[s.start:s.end]
		op, size, payload, whole := parseHeader(b)
		if !whole || len(b) < payload+size {
			if whole && len(s.buf) < payload+size {
				s.buf = append(s.buf, make([]byte, 2*(payload+size)-len(s.buf))...)
			}
			s.end = copy(s.buf, s.buf[s.start:s.end])
			s.start = 0
			return deliveries, true
		}
		n, alive := s.frame(op, b[payload:payload+size], at)
		if !alive {
			return deliveries, false
		}
		deliveries += n
		s.start += payload + size
	}
}

// frame takes one frame: deliveries are told from what the protocols say among
// themselves by their size.
func (s *socket) frame(op byte, payload []byte, at int64) (deliveries int64, alive bool) {
	switch {
	case op == opClose:
		return 0, false
	case op == opPing:
		return 0, s.send(opPong, string(payload))
	case s.dialect == Centrifuge:
		return s.lines(payload, at)
	case len(payload) >= int(s.crowd.size.Load()):
		s.sample(payload, at)
		if s.client != nil {
			s.client.take(payload)
		}
		return 1, true
	case len(payload) == 1 && payload[0] == '2':
		return 0, s.send(opText, "3")
	}
	return 0, true
}

// lines takes a centrifuge frame, which has one message a line.
func (s *socket) lines(payload []byte, at int64) (deliveries int64, alive bool) {
	size := int(s.crowd.size.Load())
	for len(payload) > 0 {
		line := payload
		if i := bytes.IndexByte(payload, '\n'); i >= 0 {
			line, payload = payload[:i], payload[i+1:]
		} else {
			payload = nil
		}
		switch {
		case len(line) >= size:
			s.sample(line, at)
			deliveries++
		case len(line) == 2: // {} is a ping, and its answer
			if !s.send(opText, "{}") {
				return deliveries, false
			}
		}
	}
	return deliveries, true
}

// reset closes the connection so that nothing stays behind in TIME_WAIT.
func (s *socket) reset() {
	conn := s.conn
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it is about to be closed
	}
	_ = conn.Close()
}

func (s *socket) send(op byte, message string) bool {
	_, err := s.conn.Write(clientFrame(op, message))
	return err == nil
}

func (s *socket) sample(payload []byte, at int64) {
	if !s.sampled {
		return
	}
	sent, ok := stamp(payload[:min(len(payload), 256)])
	if !ok {
		return
	}
	s.mu.Lock()
	s.latencies = append(s.latencies, at-sent)
	s.mu.Unlock()
}
