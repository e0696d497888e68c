package client

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/gobwas/ws"
)

// A WebSocket is one Engine.IO client's websocket.
type WebSocket struct {
	conn net.Conn
	src  *bufio.Reader
	head int // see Config.Head

	mu sync.Mutex // held while a frame is written
}

// HandshakeRequest is the request that opens a websocket, as bytes, so that a
// test can send more in the same packet.
func HandshakeRequest(host, path string) string {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" +
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: " + base64.StdEncoding.EncodeToString(nonce[:]) + "\r\n\r\n"
}

// DialWebSocket opens a websocket. early is sent behind the request in the
// same write.
func DialWebSocket(addr, path string, early []byte) (*WebSocket, error) {
	return DialRequest(addr, HandshakeRequest(addr, path), early)
}

// DialRequest is DialWebSocket with a request of one's own.
func DialRequest(addr, request string, early []byte) (*WebSocket, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	w, _, err := Handshake(conn, request, early)
	return w, err
}

// Handshake opens a websocket on a connection, which it owns from then on, and
// returns the headers of the answer too.
func Handshake(conn net.Conn, request string, early []byte) (*WebSocket, http.Header, error) {
	w := &WebSocket{conn: conn, src: bufio.NewReaderSize(conn, 1024)}
	if _, err := conn.Write(append([]byte(request), early...)); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	answer, err := http.ReadResponse(w.src, nil)
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(answer.Body)
		return nil, nil, errors.Join(fmt.Errorf("handshake: %s: %s", answer.Status, body), conn.Close())
	}
	return w, answer.Header, nil
}

// errClosed is a close frame from the server.
var errClosed = errors.New("closed by the server")

// Read returns the next Engine.IO packet.
func (w *WebSocket) Read() (string, error) {
	for {
		h, err := ws.ReadHeader(w.src)
		if err != nil {
			return "", err
		}
		size := h.Length
		if w.head > 0 {
			size = min(size, int64(w.head))
		}
		payload := make([]byte, size)
		if _, err := io.ReadFull(w.src, payload); err != nil {
			return "", err
		}
		if _, err := io.CopyN(io.Discard, w.src, h.Length-size); err != nil {
			return "", err
		}
		if h.OpCode == ws.OpText {
			return string(payload), nil
		}
		if h.OpCode == ws.OpClose {
			code, _ := ws.ParseCloseFrameData(payload)
			return "", fmt.Errorf("%w: %d", errClosed, code)
		}
	}
}

// Write sends packets, all in one write.
func (w *WebSocket) Write(packets ...string) error {
	var frames []byte
	for _, p := range packets {
		frames = append(frames, TextFrame(p)...)
	}
	return w.WriteRaw(frames)
}

// WriteRaw sends bytes as they are, such as a part of a frame.
func (w *WebSocket) WriteRaw(frames []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.conn.Write(frames)
	return err
}

// TextFrame is a packet as a client's frame.
func TextFrame(packet string) []byte {
	return ws.MustCompileFrame(ws.MaskFrameInPlace(ws.NewTextFrame([]byte(packet))))
}

// LocalAddr is the client's address.
func (w *WebSocket) LocalAddr() net.Addr { return w.conn.LocalAddr() }

// Close ends the connection with a FIN.
func (w *WebSocket) Close() error { return w.conn.Close() }

// Reset ends the connection with an RST, as a client that has crashed.
func (w *WebSocket) Reset() error {
	if tcp, ok := w.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it is about to be closed
	}
	return w.conn.Close()
}

// CloseFrame says goodbye first.
func (w *WebSocket) CloseFrame() error {
	frame := ws.MustCompileFrame(ws.MaskFrameInPlace(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))))
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.conn.Write(frame)
	return errors.Join(err, w.conn.Close())
}

// handshakeID takes the sid out of an OPEN packet, or out of a CONNECT's
// answer.
func handshakeID(packet string) (string, error) {
	_, rest, ok := strings.Cut(packet, `"sid":"`)
	sid, _, whole := strings.Cut(rest, `"`)
	if !ok || !whole {
		return "", fmt.Errorf("no sid in %q", packet)
	}
	return sid, nil
}
