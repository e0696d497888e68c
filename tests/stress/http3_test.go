package stress

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// http3Client has a connection of its own.
func (s *secure) http3Client(config *quic.Config) *http.Client {
	transport := &http3.Transport{TLSClientConfig: s.tls, QUICConfig: config}
	s.t.Cleanup(func() { _ = transport.Close() })
	return &http.Client{Transport: transport}
}

// ask sends a request, and returns its answer's status and body.
func ask(over *http.Client, request *http.Request) (status int, body string, err error) {
	answer, err := over.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// Caddy offers it for all of HTTP/3 (RFC 9220, section 3): the answer to a
// protocol that is not supported is 501.
func TestExtendedConnectOverHTTP3IsAnsweredThatItIsNotServed(t *testing.T) {
	t.Parallel() // it mostly waits
	s := startSecure(t, "")
	over := s.http3Client(nil)
	begin := time.Now()
	connect, err := http.NewRequest(http.MethodConnect, "https://"+s.Host+websocketPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	connect.Proto = "websocket" // which makes it an extended one
	connect.Header.Set("Sec-WebSocket-Version", "13")
	status, body, err := ask(over, connect)
	if status != http.StatusNotImplemented || !strings.Contains(body, "HTTP/1.1") || err != nil {
		t.Errorf("got %d, %s, %v", status, body, err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	for _, path := range []string{websocketPath, pollingPath} {
		request, err := http.NewRequest(http.MethodGet, "https://"+s.Host+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Sec-WebSocket-Version", "13")
		request.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		want := map[string]int{websocketPath: http.StatusBadRequest, pollingPath: http.StatusOK}[path]
		if status, body, err := ask(over, request); status != want || err != nil {
			t.Errorf("%s: got %d, %s, %v", path, status, body, err)
		}
	}
	if n := s.metric("connections"); n != 1 {
		t.Errorf("%v sessions are open", n)
	}
}

func TestHTTP3AnswerThatIsNotReadIsCutOffAlone(t *testing.T) {
	t.Parallel() // it mostly waits
	s := startSecure(t, "write_timeout 5s")
	a := s.newApp()
	other := s.http3Client(nil)
	over := s.http3Client(&quic.Config{InitialStreamReceiveWindow: 4096, MaxStreamReceiveWindow: 4096})
	path, err := joinByHand(over, "https://"+s.Host, a, "c")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.publish(a, "c", fmt.Sprintf("%q", strings.Repeat("x", 1<<19))); n != 1 || err != nil {
		t.Fatalf("published to %d, %v", n, err)
	}
	answer, err := over.Get(path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	begin, published := time.Now(), 0
	s.await("it is cut off", 30*time.Second, func() bool {
		published++
		if err := s.publishOver(other, s.Host, a, "d", strconv.Itoa(published)); err != nil {
			t.Fatal(err)
		}
		return s.connections(a) == 0
	})
	t.Logf("it was cut off after %s; %d publishes went over HTTP/3 meanwhile", time.Since(begin), published)
	if n := s.metric(`cut_off_total{reason="write_timeout"}`); n != 1 {
		t.Errorf("the counter says %v, want 1", n)
	}
	if part, err := io.ReadAll(answer.Body); err == nil {
		t.Errorf("%d bytes of %s pass for the whole answer", len(part), answer.Header.Get("Content-Length"))
	}
	if _, err := joinByHand(over, "https://"+s.Host, a, "c"); err != nil {
		t.Errorf("the connection afterwards: %v", err)
	}
}
