package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

const (
	// writeTimeout bounds a write; all of them are small.
	writeTimeout = 10 * time.Second

	// goodbyeTimeout bounds the final write.
	goodbyeTimeout = time.Second
)

// A link is a websocket that carries Engine.IO packets. One goroutine reads and
// writes it; any goroutine can interrupt it.
type link struct {
	conn    net.Conn
	frames  wsutil.Reader
	silence time.Duration // how long the server can be silent; 0 means forever

	mu     sync.Mutex // guards broken, and keeps deadlines from being set after it
	broken bool
}

// dialLink opens a websocket. If the answer opens none, it returns a
// *StatusError.
func dialLink(ctx context.Context, address string, maxMessage int64) (*link, error) {
	var status *StatusError
	dialer := ws.Dialer{
		TLSConfig: &tls.Config{NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12},
		OnStatusError: func(code int, _ []byte, response io.Reader) {
			status = newStatusError(code, response)
		},
		WrapConn: func(conn net.Conn) net.Conn { return &handshakeConn{conn, maxHandshake} },
	}
	conn, early, _, err := dialer.Dial(ctx, address)
	switch {
	case ctx.Err() != nil:
		if err == nil {
			_ = conn.Close()
		}
		return nil, context.Cause(ctx)
	case status != nil:
		return nil, status
	case isHandshake(err):
		return nil, fmt.Errorf("%w: %w", ErrNoWebSocket, err)
	case err != nil:
		return nil, err
	}
	if bounded, ok := conn.(*handshakeConn); ok {
		conn = bounded.Conn
	}
	l := &link{conn: conn}
	l.frames = wsutil.Reader{
		Source:         bufio.NewReader(l),
		State:          ws.StateClientSide,
		CheckUTF8:      true,
		MaxMessageSize: maxMessage,
		OnIntermediate: l.control,
	}
	if early != nil { // it holds data received with the handshake's answer
		l.frames.Source = io.MultiReader(io.LimitReader(early, int64(early.Buffered())), l.frames.Source)
	}
	return l, nil
}

// isHandshake reports whether an error is from the handshake, not the network.
func isHandshake(err error) bool {
	_, rejected := errors.AsType[*ws.ConnectionRejectedError](err)
	return rejected || errors.Is(err, ws.ErrMalformedResponse) || errors.Is(err, errLongHandshake)
}

// during runs do, which reads and writes, and interrupts it when the context
// ends. The link is then unusable, because a frame may be half read.
func (l *link) during(ctx context.Context, do func() error) error {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		l.interrupt()
	})
	err := do()
	if stop() {
		return err
	}
	<-interrupted
	return context.Cause(ctx)
}

func (l *link) interrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
	_ = l.conn.SetDeadline(time.Unix(1, 0)) // long ago
}

// arm sets a deadline, unless the link is broken.
func (l *link) arm(set func(time.Time) error, timeout time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.broken:
		return net.ErrClosed
	case timeout == 0:
		return set(time.Time{})
	}
	return set(time.Now().Add(timeout))
}

// Read implements io.Reader for the frames.
func (l *link) Read(p []byte) (int, error) {
	if err := l.arm(l.conn.SetReadDeadline, l.silence); err != nil {
		return 0, err
	}
	n, err := l.conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = ErrSilent
	}
	return n, err
}

// next returns the next packet, and handles control frames.
func (l *link) next() ([]byte, error) {
	for {
		header, err := l.frames.NextFrame()
		if err != nil {
			return nil, endOf(err)
		}
		if header.OpCode.IsControl() {
			if err := l.control(header, &l.frames); err != nil {
				return nil, endOf(err)
			}
			continue
		}
		text, err := io.ReadAll(&l.frames)
		switch {
		case err != nil:
			return nil, endOf(err)
		case header.OpCode == ws.OpBinary:
			return nil, malformed("a binary message, which this client does not read")
		case len(text) == 0:
			return nil, malformed("an empty message")
		}
		return text, nil
	}
}

// control answers a control frame. A close frame ends the link.
func (l *link) control(header ws.Header, body io.Reader) error {
	payload := make([]byte, header.Length)
	if _, err := io.ReadFull(body, payload); err != nil {
		return err
	}
	switch header.OpCode {
	case ws.OpPing:
		return l.write(ws.NewPongFrame(payload))
	case ws.OpClose:
		_ = l.write(ws.NewCloseFrame(payload)) // the server may not wait for it
		if code, _ := ws.ParseCloseFrameData(payload); !code.Empty() {
			return fmt.Errorf("%w with code %d", ErrClosed, code)
		}
		return ErrClosed
	default: // an unsolicited pong
		return nil
	}
}

// send writes a packet.
func (l *link) send(packet []byte) error { return l.write(ws.NewTextFrame(packet)) }

func (l *link) write(frame ws.Frame) error {
	if err := l.arm(l.conn.SetWriteDeadline, writeTimeout); err != nil {
		return err
	}
	_, err := l.conn.Write(ws.MustCompileFrame(ws.MaskFrame(frame)))
	return err
}

// goodbye closes the link cleanly, if the server accepts that at once.
func (l *link) goodbye(last []byte) error {
	if err := l.conn.SetDeadline(time.Now().Add(goodbyeTimeout)); err == nil {
		bye := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame(last)))
		end := ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))
		_, _ = l.conn.Write(append(bye, ws.MustCompileFrame(ws.MaskFrame(end))...)) // a server that misses it sees the connection end
	}
	return l.conn.Close()
}

// endOf translates a read error.
func endOf(err error) error {
	var network net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrClosed
	case errors.As(err, &network), errors.Is(err, ErrClosed), errors.Is(err, ErrSilent), errors.Is(err, net.ErrClosed):
		return err
	case errors.Is(err, wsutil.ErrMessageTooLarge):
		return ErrTooLarge
	}
	return malformed("%v", err)
}
