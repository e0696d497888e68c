package command

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// A rawServer answers every request with bytes, whether or not they are HTTP,
// and closes the connection.
type rawServer struct {
	origin, address string

	mu    sync.Mutex
	heard []string // the targets of the requests
}

func newRawServer(t *testing.T, answer func(target string) []byte) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // nothing to cancel
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{origin: "http://" + l.Addr().String(), address: l.Addr().String()}
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connections.Go(func() {
				defer conn.Close()
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body) // closing with bytes unread would reset the connection
				s.mu.Lock()
				s.heard = append(s.heard, r.RequestURI)
				s.mu.Unlock()
				_, _ = conn.Write(answer(r.RequestURI))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		connections.Wait()
	})
	return s
}

// requests returns the number of requests received.
func (s *rawServer) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.heard)
}

// respond returns a server's answer to all requests: a status line without the
// version, header lines, and a body.
func answerWith(status, body string, headers ...string) func(string) []byte {
	var text bytes.Buffer
	fmt.Fprintf(&text, "HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n", status, len(body))
	for _, header := range headers {
		text.WriteString(header + "\r\n")
	}
	text.WriteString("\r\n" + body)
	return func(string) []byte { return text.Bytes() }
}

// respondJSON returns an answer with a value, unchanged if it is text.
func respondJSON(t *testing.T, status string, value any) func(string) []byte {
	t.Helper()
	body, isText := value.(string)
	if !isText {
		encoded, err := text.JSON(value)
		if err != nil {
			t.Fatal(err)
		}
		body = string(encoded)
	}
	return answerWith(status, body, "Content-Type: application/json")
}

// halfABody announces 100 bytes, but sends only the given ones.
func halfABody(begin string) func(string) []byte {
	return func(string) []byte { return []byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + begin) }
}
