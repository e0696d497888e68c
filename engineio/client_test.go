package engineio_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// opening is the handshake: what a client learns about its session.
type opening struct {
	SID          string   `json:"sid"`
	Upgrades     []string `json:"upgrades"`
	PingInterval int      `json:"pingInterval"`
	PingTimeout  int      `json:"pingTimeout"`
	MaxPayload   int      `json:"maxPayload"`
}

func parseOpening(t testing.TB, packet string) opening {
	t.Helper()
	var o opening
	decoder := json.NewDecoder(strings.NewReader(strings.TrimPrefix(packet, "0")))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&o); packet == "" || packet[0] != '0' || err != nil {
		t.Fatalf("no OPEN packet: %.200q: %v", packet, err)
	}
	return o
}

// A poller is a client on long-polling.
type poller struct {
	server *server
	opening
	stamp string // t in the URL, if not empty
}

func (s *server) openPolling() *poller {
	s.t.Helper()
	p := &poller{server: s}
	status, body := p.do(s.t.Context(), http.MethodGet, nil)
	if status != http.StatusOK {
		s.t.Fatalf("handshake: %d %s", status, body)
	}
	p.opening = parseOpening(s.t, body)
	return p
}

// url returns the address of the client's session.
func (p *poller) url() string {
	url := p.server.http.URL + "/engine.io/?EIO=4&transport=polling"
	if p.SID != "" {
		url += "&sid=" + p.SID
	}
	if p.stamp != "" {
		url += "&t=" + p.stamp
	}
	return url
}

// try sends one request; the status is 0 if it fails.
func (p *poller) try(ctx context.Context, method string, body io.Reader, header ...string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, p.url(), body)
	if err != nil {
		return 0, "", err
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := p.server.client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, string(answer), err
}

func (p *poller) do(ctx context.Context, method string, body io.Reader) (int, string) {
	p.server.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	status, answer, err := p.try(ctx, method, body)
	if err != nil {
		p.server.t.Fatalf("%s: %v", method, err)
	}
	return status, answer
}

// get polls once.
func (p *poller) get() (int, string) {
	p.server.t.Helper()
	return p.do(p.server.t.Context(), http.MethodGet, nil)
}

// post sends a payload.
func (p *poller) post(payload string) (int, string) {
	p.server.t.Helper()
	return p.do(p.server.t.Context(), http.MethodPost, strings.NewReader(payload))
}

// gets polls, and fails if the answer differs.
func (p *poller) gets(status int, body string) {
	p.server.t.Helper()
	if s, b := p.get(); s != status || status == http.StatusOK && b != body {
		p.server.t.Fatalf("poll: %d %.200q, not %d %.200q", s, b, status, body)
	}
}

// posts sends a payload, and fails if the answer differs.
func (p *poller) posts(payload string, status int) {
	p.server.t.Helper()
	if s, b := p.post(payload); s != status || status == http.StatusOK && b != "ok" {
		p.server.t.Fatalf("POST: %d %.200q, not %d", s, b, status)
	}
}

// An answer is a response's status and body.
type answer struct {
	status int
	body   string
}

// pending begins a poll, and returns once it has reached the server.
func (p *poller) pending() <-chan answer {
	p.server.t.Helper()
	answers := p.background()
	session := p.server.peer(p.SID).Session
	eventually(p.server.t, "a poll waits", session.Polled)
	return answers
}

// background begins a poll.
func (p *poller) background() <-chan answer {
	answers := make(chan answer, 1)
	go func() {
		status, body, err := p.try(context.Background(), http.MethodGet, nil)
		if err != nil {
			body = err.Error()
		}
		answers <- answer{status, body}
	}()
	return answers
}

// is waits for an answer and compares it.
func is(t testing.TB, answers <-chan answer, status int, body string) {
	t.Helper()
	select {
	case a := <-answers:
		if a.status != status || status == http.StatusOK && a.body != body {
			t.Fatalf("poll: %d %.200q, not %d %.200q", a.status, a.body, status, body)
		}
	case <-time.After(patience):
		t.Fatal("a poll was not answered")
	}
}

// A socket is a websocket client that does only what it is told.
type socket struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
	opening
}

// handshake is the request in RFC 6455, section 1.3.
const (
	handshake = "GET /engine.io/?EIO=4&transport=websocket%s HTTP/1.1\r\n" +
		"Host: example.com\r\n" +
		"Upgrade: websocket\r\n" +
		"Connection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		"Sec-WebSocket-Version: 13\r\n\r\n"
	handshakeAnswer = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// websocket performs a handshake, with more bytes in the same segment.
func (s *server) websocket(sid string, early ...byte) *socket {
	s.t.Helper()
	c := &socket{t: s.t, conn: s.connect()}
	if sid != "" {
		sid = "&sid=" + sid
	}
	c.write(append(fmt.Appendf(nil, handshake, sid), early...))
	c.in = bufio.NewReader(c.conn)
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(response.Body)
		s.t.Fatalf("handshake: %s %s", response.Status, body)
	}
	if accept := response.Header.Get("Sec-Websocket-Accept"); accept != handshakeAnswer {
		s.t.Fatalf("the handshake's answer is %q", accept)
	}
	return c
}

// dial opens a session.
func (s *server) dial(early ...byte) *socket {
	s.t.Helper()
	c := s.websocket("", early...)
	c.opening = parseOpening(s.t, c.text())
	return c
}

// masked encodes a client's frame.
func masked(f ws.Frame) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(f))
}

func text(s string) []byte { return masked(ws.NewTextFrame([]byte(s))) }

func (c *socket) write(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *socket) send(s string) {
	c.t.Helper()
	c.write(text(s))
}

// next reads a frame of any kind.
func (c *socket) next() (ws.Frame, error) {
	h, err := ws.ReadHeader(c.in)
	if err == nil {
		err = ws.CheckHeader(h, ws.StateClientSide)
	}
	if err != nil {
		return ws.Frame{}, err
	}
	f := ws.Frame{Header: h, Payload: make([]byte, h.Length)}
	_, err = io.ReadFull(c.in, f.Payload)
	return f, err
}

// text reads a text frame.
func (c *socket) text() string {
	c.t.Helper()
	f, err := c.next()
	if err != nil || f.Header.OpCode != ws.OpText || !f.Header.Fin {
		c.t.Fatalf("no text but %+v %.200q: %v", f.Header, f.Payload, err)
	}
	return string(f.Payload)
}

func (c *socket) gets(want string) {
	c.t.Helper()
	if got := c.text(); got != want {
		c.t.Fatalf("got %.200q, not %.200q", got, want)
	}
}

// closes reads a close frame with a code, answers it, and waits for the end of
// the connection.
func (c *socket) closes(code ws.StatusCode) {
	c.t.Helper()
	c.closeFrame(code)
	c.ends()
}

// closeFrame reads a close frame with a code. It skips messages before it.
func (c *socket) closeFrame(code ws.StatusCode) {
	c.t.Helper()
	for {
		f, err := c.next()
		if err != nil {
			c.t.Fatalf("no close frame: %v", err)
		}
		if f.Header.OpCode != ws.OpClose {
			continue
		}
		got, _ := ws.ParseCloseFrameData(f.Payload)
		if len(f.Payload) == 0 {
			got = ws.StatusNoStatusRcvd
		}
		if got != code {
			c.t.Fatalf("closed with %d, not %d", got, code)
		}
		return
	}
}

// ends answers a close and waits for the end of the connection.
func (c *socket) ends() {
	c.t.Helper()
	_, _ = c.conn.Write(masked(ws.NewCloseFrame(nil)))
	var timeout net.Error
	if _, err := io.Copy(io.Discard, c.in); errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Fatal("the connection does not end")
	}
}

// upgrade moves a session to a websocket, as clients do.
func (p *poller) upgrade() *socket {
	p.server.t.Helper()
	c := p.probe()
	c.send("5")
	eventually(p.server.t, "the session moves", func() bool {
		return p.server.peer(p.SID).Transport() == "websocket"
	})
	return c
}

// probe opens a websocket during polling, and probes it.
func (p *poller) probe() *socket {
	p.server.t.Helper()
	c := p.server.websocket(p.SID)
	c.opening = p.opening
	c.send("2probe")
	c.gets("3probe")
	return c
}

// parts splits a payload.
func parts(payload string) []string {
	return strings.Split(payload, "\x1e")
}

// fill returns a message of n bytes.
func fill(n int) []byte { return bytes.Repeat([]byte("x"), n) }
