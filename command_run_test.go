package realtime

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// A commandRun is what a command printed, and the error that it ended with,
// which Caddy logs.
type commandRun struct {
	stdout, stderr string
	err            error
}

// said is everything that a terminal shows of it.
func (r commandRun) said() string { return r.stdout + r.stderr + r.failure() }

// failure is the text of the error, "" without one.
func (r commandRun) failure() string {
	if r.err == nil {
		return ""
	}
	return r.err.Error()
}

// runCommand runs "caddy realtime" in this process, with the command that is
// registered with Caddy. tests/hostile.test.mjs and tests/command.test.mjs
// cover the way through Caddy's main.
func runCommand(t *testing.T, stdin io.Reader, args ...string) commandRun {
	t.Helper()
	registered := caddycmd.Commands()["realtime"]
	realtime := &cobra.Command{Use: registered.Name + " " + registered.Usage, Short: registered.Short, Long: registered.Long}
	registered.CobraFunc(realtime)
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	root.AddCommand(realtime)
	root.SetArgs(append([]string{"realtime"}, args...))
	var stdout, stderr strings.Builder
	root.SetIn(stdin)
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	err := root.ExecuteContext(t.Context())
	return commandRun{stdout.String(), stderr.String(), err}
}

// setSite sets the environment of publish and listen: an account at an origin,
// which is unset if it is "".
func setSite(t *testing.T, origin string) {
	t.Helper()
	for name, value := range map[string]string{
		"REALTIME_URL": origin, "REALTIME_SOCKET_URL": "", "REALTIME_APP_ID": "app_1",
		"REALTIME_PUBLISH_KEY": "pk_live_secret", "REALTIME_SUBSCRIBE_KEY": "sub_live_secret",
	} {
		t.Setenv(name, value)
	}
}

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

// requests returns how many requests came.
func (s *rawServer) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.heard)
}

// respond is a server's answer to all requests: a status line without the
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

// respondJSON is the answer with a value, as it is if it is text.
func respondJSON(t *testing.T, status string, value any) func(string) []byte {
	t.Helper()
	body, isText := value.(string)
	if !isText {
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(value); err != nil {
			t.Fatal(err)
		}
		body = text.String()
	}
	return answerWith(status, body, "Content-Type: application/json")
}

// halfABody announces 100 bytes, and sends those given.
func halfABody(begin string) func(string) []byte {
	return func(string) []byte { return []byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + begin) }
}

// closedOrigin is an origin where nothing listens.
func closedOrigin(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // nothing to cancel
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}
