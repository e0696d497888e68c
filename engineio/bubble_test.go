package engineio_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// A bubble is a server without a network, in which time passes instantly.
type bubble struct {
	*engineio.Server
	t     *testing.T
	peers map[string]*peer
	last  *peer // the last peer accepted

	hijacking func() error // if not nil, called while a connection is taken over
}

func inBubble(t *testing.T, cfg engineio.Config, test func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t, peers: make(map[string]*peer)}
		b.Server = engineio.NewServer(cfg, func(s *engineio.Session) engineio.Receiver {
			p := &peer{Session: s, server: &server{t: t}, reason: make(chan engineio.Reason, 1)}
			b.peers[s.ID()] = p
			b.last = p
			return p
		})
		defer b.Close()
		test(b)
	})
}

// do sends one polling request.
func (b *bubble) do(method, sid, body string) (int, string) {
	r := httptest.NewRequestWithContext(b.t.Context(), method, "/?EIO=4&transport=polling&sid="+sid, strings.NewReader(body))
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func (b *bubble) openPolling() *peer {
	b.t.Helper()
	_, body := b.do(http.MethodGet, "", "")
	return b.peers[parseOpening(b.t, body).SID]
}

// gets polls and compares the answer.
func (b *bubble) gets(p *peer, status int, want string) {
	b.t.Helper()
	if s, body := b.do(http.MethodGet, p.ID(), ""); s != status || s == http.StatusOK && body != want {
		b.t.Fatalf("poll: %d %q, not %d %q", s, body, status, want)
	}
}

func (b *bubble) posts(p *peer, body string) {
	b.t.Helper()
	if s, answer := b.do(http.MethodPost, p.ID(), body); s != http.StatusOK {
		b.t.Fatalf("POST: %d %q", s, answer)
	}
}

// pipeWriter is a response whose connection can be hijacked.
type pipeWriter struct {
	*httptest.ResponseRecorder
	conn      net.Conn
	hijacking func() error
}

func (w *pipeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.hijacking != nil {
		if err := w.hijacking(); err != nil {
			return nil, nil, err
		}
	}
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// websocket performs a handshake over a pipe, which buffers nothing: a write
// that the client does not read does not complete.
func (b *bubble) websocket(sid string) *socket {
	b.t.Helper()
	local, remote := net.Pipe()
	b.t.Cleanup(func() { local.Close() })
	query := ""
	if sid != "" {
		query = "&sid=" + sid
	}
	request := strings.Replace(handshake, "%s", query, 1)
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
	if err != nil {
		b.t.Fatal(err)
	}
	w := &pipeWriter{httptest.NewRecorder(), remote, b.hijacking}
	b.ServeHTTP(w, r.WithContext(context.Background()))
	if w.Code != http.StatusSwitchingProtocols {
		b.t.Fatalf("handshake: %d %s", w.Code, w.Body)
	}
	return &socket{t: b.t, conn: local, in: bufio.NewReader(local)}
}

func (b *bubble) dial() (*socket, *peer) {
	b.t.Helper()
	c := b.websocket("")
	c.opening = parseOpening(b.t, c.text())
	return c, b.peers[c.SID]
}

// passed fails unless want has passed since, or up to two ticks of the wheel
// more.
func passed(t *testing.T, since time.Time, want time.Duration) {
	t.Helper()
	if took := time.Since(since); took < want || took > want+50*time.Millisecond {
		t.Errorf("it took %v, not %v", took, want)
	}
}

// drained waits for the end of the connection.
func (c *socket) drained() {
	_, _ = io.Copy(io.Discard, c.in)
}
