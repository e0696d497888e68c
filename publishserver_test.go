package realtime

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/live"
	"github.com/seed-c079cc48/caddy-realtime/internal/stats"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// mustHub creates a hub with a broker.
func mustHub(tb testing.TB, broker hub.Broker) *hub.Hub[*socketio.Broadcast] {
	tb.Helper()
	h, err := newHub(broker)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// recorder is a broker that records its messages, or fails with err.
type recorder struct {
	mu  sync.Mutex
	got []string
	err error
}

func (p *recorder) Publish(_ context.Context, all []*hub.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	for _, m := range all {
		data := m.Data
		if data == nil {
			data = json.RawMessage("absent")
		}
		p.got = append(p.got, m.App+" "+m.Channel+" "+m.Event+" "+string(data))
		m.Position, m.Subscribers = hub.Position{Epoch: "m", Offset: uint64(len(p.got))}, 3
	}
	return nil
}

func (*recorder) Start(hub.Handler) error { return nil }
func (*recorder) Forget(string)           {}
func (*recorder) Close() error            { return nil }

// discard is a broker that delivers nothing.
type discard struct{ recorder }

func (*discard) Publish(context.Context, []*hub.Message) error { return nil }

func (p *recorder) last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.got) == 0 {
		return ""
	}
	return p.got[len(p.got)-1]
}

// publishServer is an endpoint behind a real HTTP server.
type publishServer struct {
	*httptest.Server
	shop     *shop
	endpoint *publishEndpoint
	recorder *recorder
	logs     *observer.ObservedLogs
}

// newPublishServer starts an endpoint, after change has adapted it.
func newPublishServer(tb testing.TB, change func(*publishEndpoint)) *publishServer {
	tb.Helper()
	core, logs := observer.New(zap.DebugLevel)
	s := &publishServer{shop: newShop(tb), recorder: new(recorder), logs: logs}
	settings := new(Settings)
	settings.setDefaults()
	feeds := new(live.Feeds)
	s.endpoint = &publishEndpoint{
		registry: s.shop.registry, settings: settings, live: feeds,
		publisher: &publisher{
			settings: func() *Settings { return settings }, hub: mustHub(tb, s.recorder),
			registry: s.shop.registry, stats: stats.New(), feeds: feeds,
		},
		origins: new(access.Origins), appOrigins: new(access.AppOrigins), refused: new(access.RefusedOrigins),
		failed: new(access.Failures), arrived: new(arrivals), faults: new(faults),
		logger: zap.New(core),
	}
	if change != nil {
		change(s.endpoint)
	}
	s.Server = httptest.NewServer(s.endpoint)
	tb.Cleanup(s.Close)
	return s
}

// request returns a valid publish, for a test to modify.
func (s *publishServer) request(tb testing.TB, body string) *http.Request {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, s.URL+"/publish", strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-App-Id", s.shop.app)
	r.Header.Set("Authorization", "Bearer "+s.shop.publishKey)
	return r
}

// do sends the request and returns the response with its body.
func (s *publishServer) do(tb testing.TB, r *http.Request) (*http.Response, string) {
	tb.Helper()
	res, err := s.Client().Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return res, string(body)
}

// wantError checks that a response is an error in the documented form.
func wantError(tb testing.TB, res *http.Response, body string, status int, code, says string) {
	tb.Helper()
	var shape map[string]map[string]string
	if err := json.Unmarshal([]byte(body), &shape); err != nil {
		tb.Fatalf("%d %s: %v", res.StatusCode, body, err)
	}
	e := shape["error"]
	if res.StatusCode != status || e["code"] != code || !strings.Contains(e["message"], says) {
		tb.Fatalf("got %d %s, want %d %s with %q", res.StatusCode, body, status, code, says)
	}
	if len(shape) != 1 || len(e) != 2 {
		tb.Fatalf("the error has another shape: %s", body)
	}
	h := res.Header
	if h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" {
		tb.Fatalf("headers %v", h)
	}
	if got := h.Get("Www-Authenticate"); (status == http.StatusUnauthorized) != (got == "Bearer") {
		tb.Fatalf("WWW-Authenticate is %q with %d", got, status)
	}
}

// sendRaw writes bytes to the server. It returns the response, and whether the server
// closed the connection afterwards.
func (s *publishServer) sendRaw(t *testing.T, raw string) (*http.Response, string, bool) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	buffered := bufio.NewReader(conn)
	res, err := http.ReadResponse(buffered, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !res.Close {
		return res, string(body), false
	}
	_, err = buffered.ReadByte()
	return res, string(body), errors.Is(err, io.EOF)
}

func (s *publishServer) head(extra string) string {
	return "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-App-Id: " + s.shop.app +
		"\r\nAuthorization: Bearer " + s.shop.publishKey + "\r\n" + extra + "\r\n\r\n"
}
