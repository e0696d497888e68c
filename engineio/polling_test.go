package engineio_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

func TestASecondPollEndsTheSession(t *testing.T) {
	srv := serve(t, config(), app{})
	client := srv.openPolling()
	p := srv.peer(client.SID)
	first := client.pending()
	client.gets(400, "")
	is(t, first, 200, "1")
	p.endsWith(engineio.TransportError)
	client.gets(400, "")
}

func TestAPollThatIsGivenUpEndsTheSession(t *testing.T) {
	for proto, srv := range map[string]*server{
		"HTTP/1.1": serve(t, config(), app{}),
		"HTTP/2":   serveTLS(t, config(), app{}),
	} {
		t.Run(proto, func(t *testing.T) {
			client := srv.openPolling()
			p := srv.peer(client.SID)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, _, err := client.try(ctx, http.MethodGet, nil)
				done <- err
			}()
			eventually(t, "a poll waits", p.Polled)
			cancel()
			if err := <-done; err == nil {
				t.Error("the poll was answered")
			}
			p.endsWith(engineio.TransportError)
			client.gets(400, "")
		})
	}
}

func TestInvalidPayloadsEndTheSession(t *testing.T) {
	srv := serve(t, config(), app{})
	for name, payload := range map[string]string{
		"empty":                "",
		"unknown type":         "abc",
		"unknown digit":        "7",
		"separator":            "\x1e",
		"separator first":      "\x1e4a",
		"separator last":       "4a\x1e",
		"separator twice":      "4a\x1e\x1e4b",
		"open":                 "0",
		"ping":                 "2",
		"upgrade":              "5",
		"noop":                 "6",
		"invalid after valid":  "4a\x1eabc",
		"text is not UTF-8":    "4\xff",
		"UTF-8 is cut":         "4\xe2\x82",
		"not base64":           "b*",
		"base64 is cut":        "bAQIDB",
		"base64 of URLs":       "b-_-_",
		"revision 3 payload":   "2:4a",
		"binary as revision 3": "b4AQIDBA==",
	} {
		t.Run(name, func(t *testing.T) {
			client := srv.openPolling()
			p := srv.peer(client.SID)
			answers := client.pending()
			client.posts(payload, 400)
			p.endsWith(engineio.ParseError)
			// Earlier messages may have been echoed.
			if a := <-answers; a.status != 200 || a.body != "1" && a.body != "4a" {
				t.Errorf("the poll was answered %d %q", a.status, a.body)
			}
			client.gets(400, "")
		})
	}
}

func TestBinaryBodiesEndTheSession(t *testing.T) {
	srv := serve(t, config(), app{})
	client := srv.openPolling()
	p := srv.peer(client.SID)
	status, body, err := client.try(t.Context(), http.MethodPost, strings.NewReader("\x00\x04\xff4abc"), "Content-Type", "application/octet-stream")
	if status != 400 || err != nil {
		t.Errorf("%d %s, %v", status, body, err)
	}
	p.endsWith(engineio.ParseError)
}

func TestOverlappingPostsEndTheSession(t *testing.T) {
	srv := serve(t, config(), app{})
	client := srv.openPolling()
	p := srv.peer(client.SID)
	stalled, w := io.Pipe()
	first := make(chan int, 1)
	go func() {
		status, _, _ := client.try(context.Background(), http.MethodPost, stalled)
		first <- status
	}()
	if _, err := io.WriteString(w, "4fir"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first POST is under way", p.Posting)
	client.posts("4second", 400)
	p.endsWith(engineio.TransportError)
	w.Close()
	<-first // answered, with whatever there is
}

func TestPostsOneAfterTheOther(t *testing.T) {
	srv := serve(t, config(), app{})
	client := srv.openPolling()
	for range 50 {
		client.posts("4hello", 200)
	}
	eventuallyGets(client, strings.TrimSuffix(strings.Repeat("4hello\x1e", 50), "\x1e"))
}

// eventuallyGets polls for a payload that can be split.
func eventuallyGets(client *poller, want string) {
	client.server.t.Helper()
	var got []string
	for len(got) < len(parts(want)) {
		status, body := client.get()
		if status != 200 {
			client.server.t.Fatalf("poll: %d %s", status, body)
		}
		got = append(got, parts(body)...)
	}
	if s := strings.Join(got, "\x1e"); s != want {
		client.server.t.Errorf("got %.200q, not %.200q", s, want)
	}
}

func TestBodiesOverTheLimit(t *testing.T) {
	cfg := config()
	cfg.MaxPayload = 1000
	srv := serve(t, cfg, app{})
	client := srv.openPolling()
	largest := "4" + string(fill(999))
	client.posts(largest, 200)
	client.gets(200, largest)
	client.posts(largest+"x", 413)
	for _, size := range []int{1001, 100_000, 10e6} {
		chunked := struct{ io.Reader }{strings.NewReader("4" + string(fill(size-1)))}
		// net/http can close the connection while a large body is being sent.
		status, body, err := client.try(t.Context(), http.MethodPost, chunked)
		if err == nil && status != 413 {
			t.Errorf("%d bytes in chunks: %d %s", size, status, body)
		}
	}
	client.posts("4still open", 200)
	client.gets(200, "4still open")
}

// A client must learn that its body was not received.
func TestABodyThatBreaksOffEndsTheSession(t *testing.T) {
	srv := serve(t, config(), app{})
	client := srv.openPolling()
	p := srv.peer(client.SID)
	conn := srv.connect()
	if _, err := io.WriteString(conn, "POST /?EIO=4&transport=polling&sid="+client.SID+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n4abc"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the POST is under way", p.Posting)
	conn.Close()
	p.endsWith(engineio.TransportError)
}

// stallingWriter is a response that supports a deadline for the request's body.
type stallingWriter struct {
	*httptest.ResponseRecorder
	body net.Conn
}

func (w *stallingWriter) SetReadDeadline(at time.Time) error { return w.body.SetReadDeadline(at) }

func TestABodyThatStallsEndsTheSession(t *testing.T) {
	cfg := config()
	cfg.PingInterval, cfg.BodyTimeout = time.Hour, 10*time.Second
	inBubble(t, cfg, func(b *bubble) {
		t := b.t
		p := b.openPolling()
		began := time.Now()
		client, body := net.Pipe()
		go func() { // a byte per second does not extend the deadline
			for range 40 {
				_, _ = client.Write([]byte("4"))
				time.Sleep(time.Second)
			}
		}()
		w := &stallingWriter{httptest.NewRecorder(), body}
		b.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/?EIO=4&transport=polling&sid="+p.ID(), body))
		if w.Code != http.StatusBadRequest {
			t.Errorf("the answer is %d", w.Code)
		}
		passed(t, began, 10*time.Second)
		p.endsWith(engineio.TransportError)
		body.Close()
		time.Sleep(time.Minute)
	})
}

// net/http reads a body to its end before it answers, even a refused one.
func TestABodyThatNobodyReadsIsNotWaitedForEither(t *testing.T) {
	for name, request := range map[string]string{
		"unknown session": "POST /?EIO=4&transport=polling&sid=abc",
		"handshake":       "GET /?EIO=4&transport=websocket",
		"no transport":    "PUT /",
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config()
			cfg.BodyTimeout = 10 * time.Second
			inBubble(t, cfg, func(b *bubble) {
				l := &pipeListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
				server := &http.Server{Handler: b.Server}
				go server.Serve(l)
				defer server.Close()
				client, conn := net.Pipe()
				defer client.Close()
				l.conns <- conn
				began := time.Now()
				go io.WriteString(client, request+" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe")
				answer, err := io.ReadAll(client)
				if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
					b.t.Errorf("the answer is %q, %v", answer, err)
				}
				if took := time.Since(began); took > 11*time.Second {
					b.t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// A pipeListener accepts the connections that it is given.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) Close() error {
	close(l.closed)
	return nil
}

// Two requests in one segment, as HTTP/1.1 allows.
func TestPipelinedRequests(t *testing.T) {
	srv := serve(t, config(), app{})
	client := srv.openPolling()
	conn := srv.connect()
	request := " /?EIO=4&transport=polling&sid=" + client.SID + " HTTP/1.1\r\nHost: x\r\n"
	if _, err := io.WriteString(conn, "POST"+request+"Content-Length: 2\r\n\r\n4aGET"+request+"Connection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(answer), "\r\n\r\n4a") {
		t.Errorf("%s: %v", answer, err)
	}
}

// eager calls a function as soon as an answer is being sent.
type eager struct {
	*httptest.ResponseRecorder
	then func()
}

func (w eager) Write(b []byte) (int, error) {
	w.then()
	return w.ResponseRecorder.Write(b)
}

func TestNextPostMayComeBeforeTheServerIsDoneWithTheLast(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		p := b.openPolling()
		post := func(w http.ResponseWriter) {
			body := strings.NewReader("4hello")
			r := httptest.NewRequestWithContext(b.t.Context(), http.MethodPost, "/?EIO=4&transport=polling&sid="+p.ID(), body)
			b.Serve(w, r, engineio.Exchange{})
		}
		next := httptest.NewRecorder()
		post(eager{httptest.NewRecorder(), func() { post(next) }})
		if next.Code != http.StatusOK {
			b.t.Errorf("the next POST got %d: %s", next.Code, next.Body)
		}
	})
}
