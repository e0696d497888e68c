package forward

import (
	"bufio"
	"net"
	"net/http"
	"time"
)

// lingerTime is how long a client may take to close its websocket after the other
// machine has ended it.
const lingerTime = time.Second

// A clientWriter bounds how long an answer takes to write. Otherwise a client that does
// not read could keep its request for ever, also after its session has ended.
type clientWriter struct {
	http.ResponseWriter
	timeout time.Duration
	begun   bool // the deadline is set
}

// WriteHeader implements http.ResponseWriter.
func (w *clientWriter) WriteHeader(status int) {
	w.begin()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *clientWriter) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

func (w *clientWriter) begin() {
	if w.begun {
		return
	}
	w.begun = true
	// Not every writer supports deadlines.
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.timeout))
}

// end removes the deadline, for the connection's next request.
func (w *clientWriter) end() {
	if w.begun {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Time{})
	}
}

// Hijack implements http.Hijacker, for a websocket.
func (w *clientWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.begun = false
	c := &clientConn{conn, w.timeout}
	if err := c.limit(); err != nil { // for the answer to the handshake
		_ = conn.Close()
		return nil, nil, err
	}
	return c, buffered, nil
}

// Unwrap is for http.ResponseController.
func (w *clientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A clientConn is a client's websocket, each write to which is bounded.
type clientConn struct {
	net.Conn
	timeout time.Duration
}

// Write implements net.Conn.
func (c *clientConn) Write(p []byte) (int, error) {
	if err := c.limit(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *clientConn) limit() error {
	return c.SetWriteDeadline(time.Now().Add(c.timeout))
}

// CloseWrite is called once the other machine has ended the websocket.
func (c *clientConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return net.ErrClosed // ends both directions
	}
	if err := c.SetReadDeadline(time.Now().Add(lingerTime)); err != nil {
		return err
	}
	return half.CloseWrite()
}

// Interface guards
var (
	_ http.Hijacker = (*clientWriter)(nil)
	_ net.Conn      = (*clientConn)(nil)
)
