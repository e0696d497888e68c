package realtime

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestClientThatSendsTooMuchReadsWhyAndGoesOn(t *testing.T) {
	s := newPublishServer(t, nil)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for _, chunked := range []bool{false, true} {
		body := bytes.Repeat([]byte("x"), 7<<20)
		r := s.request(t, "")
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		if chunked {
			r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
		}
		if err := r.Write(conn); err != nil { // sends everything before it reads
			t.Fatalf("chunked %t: %v", chunked, err)
		}
		res, err := http.ReadResponse(answers, r)
		if err != nil {
			t.Fatalf("chunked %t: %v", chunked, err)
		}
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, res, string(text), http.StatusRequestEntityTooLarge, "payload_too_large", "the limit is 1048576")
	}
}

// For example nginx, which closes the connection to a server after each response by
// default. If the server closes a connection with part of the body unread, the response
// is lost.
func TestRefusedClientThatClosesReadsWhy(t *testing.T) {
	s := newPublishServer(t, nil)
	for name, refused := range map[string]struct {
		header, value string
		status        int
		code          string
	}{
		"the type": {"Content-Type", "text/html", http.StatusUnsupportedMediaType, "unsupported_media_type"},
		"no app":   {"X-App-Id", "", http.StatusUnauthorized, "missing_app_id"},
		"the key":  {"Authorization", "Bearer pk_live_wrong", http.StatusUnauthorized, "invalid_key"},
	} {
		for _, size := range []int{100 << 10, 2 << 20} {
			for _, chunked := range []bool{false, true} {
				conn, err := net.Dial("tcp", s.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				r := s.request(t, "")
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(bytes.Repeat([]byte("x"), size))), int64(size)
				if chunked {
					r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
				}
				r.Close = true
				r.Header.Set(refused.header, refused.value)
				if err := r.Write(conn); err != nil { // sends everything before it reads
					t.Errorf("%s, %d bytes, chunked %t: %v", name, size, chunked, err)
					continue
				}
				answer, err := io.ReadAll(conn)
				if err != nil {
					t.Errorf("%s, %d bytes, chunked %t: %v", name, size, chunked, err)
					continue
				}
				res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), r)
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(res.Body)
				wantError(t, res, string(text), refused.status, refused.code, "")
			}
		}
	}
}

// A client that declares a body and sends none still gets the error.
func TestRefusedClientThatStallsReadsWhy(t *testing.T) {
	s := newPublishServer(t, func(e *publishEndpoint) { e.settings.BodyTimeout = caddy.Duration(100 * time.Millisecond) })
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Type: text/html\r\nContent-Length: 1000\r\n\r\nx"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.Contains(answer, []byte("unsupported_media_type")) {
		t.Errorf("it gets %v %q", err, answer)
	}
}
