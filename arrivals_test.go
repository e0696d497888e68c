package realtime

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestLargePublishesOfAnAppAreBoundedWhileTheyArrive(t *testing.T) {
	const size = 40 << 20 // two exceed the limit
	s := newPublishServer(t, func(e *publishEndpoint) {
		e.settings.MaxBody = size
		e.settings.BodyTimeout = caddy.Duration(10 * time.Minute) // the first arrives all the time
	})
	first, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := io.WriteString(first, s.head(fmt.Sprint("Content-Length: ", size))+strings.Repeat("[", 100<<10)); err != nil {
		t.Fatal(err)
	}
	taken := func() int64 {
		s.endpoint.arrived.mu.Lock()
		defer s.endpoint.arrived.mu.Unlock()
		return s.endpoint.arrived.byApp[s.shop.app]
	}
	await(t, "the first arrives", func() bool { return taken() == size })

	for _, raw := range []string{
		s.head("Content-Length: 31457280") + strings.Repeat("[", 100<<10),
		s.head("Transfer-Encoding: chunked") + "19000\r\n" + strings.Repeat("[", 0x19000) + "\r\n0\r\n\r\n", // of unknown length
	} {
		res, body, _ := s.sendRaw(t, raw)
		wantError(t, res, body, http.StatusServiceUnavailable, "unavailable", "Too many large publishes")
	}
	if res, body := s.do(t, s.request(t, goodBody)); res.StatusCode != http.StatusOK {
		t.Errorf("a small one: %d %s", res.StatusCode, body)
	}
	a := arrival{all: s.endpoint.arrived, app: "another"}
	if !a.take(size) {
		t.Error("another app's are refused, too")
	}
	a.end()

	_ = first.Close()
	await(t, "the first is gone", func() bool { return taken() == 0 })
	if res, body := s.do(t, s.request(t, `{"channel":"c","event":"e","data":"`+strings.Repeat("x", 2<<20)+`"}`)); res.StatusCode != http.StatusOK {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	await(t, "nothing is left", func() bool { return taken() == 0 })
}

// await polls until a condition holds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) { // between two polls
		if time.Now().After(deadline) {
			t.Fatalf("not within 20s: %s", what)
		}
	}
}
