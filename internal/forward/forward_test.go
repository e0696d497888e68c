package forward_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/internal/forward"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

const machine = "machine1"

// largeSize is more than a client's connection takes that is not read; see stalled.
const largeSize = 512 << 10

// An echo answers each message with itself, "large" with largeSize bytes, and ends at "end".
type echo struct{ *engineio.Session }

func (e echo) Text(payload []byte) {
	switch string(payload) {
	case "large":
		payload = bytes.Repeat([]byte("x"), largeSize)
	case "end":
		e.Abort(engineio.TransportError)
		return
	}
	e.Send(engineio.TextPacket(payload))
}

func (e echo) Binary(payload []byte)  { e.Send(engineio.BinaryPacket(payload)) }
func (e echo) Closed(engineio.Reason) {}

func secret(text string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(text), nil }
}

// gateways are the machine that has the sessions, and another one in front of it.
type gateways struct {
	t             *testing.T
	public        *httptest.Server // opens sessions
	node, front   *httptest.Server
	forwarder     *forward.Forwarder
	writeTimeout  time.Duration
	ending        chan struct{}
	refusedByNode chan string
	logs          *observer.ObservedLogs
}

func start(t *testing.T, knows string) *gateways {
	t.Helper()
	g := &gateways{t: t, writeTimeout: patience, ending: make(chan struct{}), refusedByNode: make(chan string, 10)}
	server := engineio.NewServer(engineio.Config{
		PingInterval: time.Minute, PingTimeout: time.Minute, MaxPayload: 1000, MaxQueue: 1 << 20,
		WriteTimeout: patience, UpgradeTimeout: patience, BodyTimeout: patience, IDPrefix: machine, Logger: zap.NewNop(),
	}, func(s *engineio.Session) engineio.Receiver { return echo{s} })
	g.public = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		server.Serve(w, r, engineio.Exchange{})
	}))
	g.node = httptest.NewServer(&forward.Receiver{
		Machine: machine, Secret: secret("s"), Server: server,
		Refused: func(r *http.Request) { g.refusedByNode <- r.RequestURI },
	})
	core, logs := observer.New(zap.WarnLevel)
	g.logs, g.forwarder = logs, forward.New(secret(knows), func() time.Duration { return g.writeTimeout }, zap.New(core))
	address, err := url.Parse(g.node.URL)
	if err != nil {
		t.Fatal(err)
	}
	g.front = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "https://page.example")
		g.forwarder.Forward(w, r, machine, address, engineio.Exchange{Ending: g.ending})
	}))
	g.front.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		_ = conn.(*net.TCPConn).SetWriteBuffer(smallBuffer)
		return ctx
	}
	g.front.Start()
	t.Cleanup(func() {
		server.Close()
		g.front.Close()
		g.node.Close()
		g.public.Close()
		g.forwarder.Close()
	})
	return g
}

// open opens a session at the machine that is to have it.
func (g *gateways) open() (query string) {
	g.t.Helper()
	body, _ := g.ask(g.public, http.MethodGet, "/?EIO=4&transport=polling", "")
	_, after, _ := strings.Cut(body, `"sid":"`)
	sid, _, ok := strings.Cut(after, `"`)
	if !ok {
		g.t.Fatalf("no session: %s", body)
	}
	return "EIO=4&transport=polling&sid=" + sid
}

func (g *gateways) ask(at *httptest.Server, method, path, body string) (string, *http.Response) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, at.URL+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Cookie", "secret=1")
	r.Header.Set("Origin", "https://page.example")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(text), response
}

func TestPollsAndPostsReachTheMachineThatHasTheSession(t *testing.T) {
	g := start(t, "s")
	query := g.open()
	for _, message := range []string{"4one", "4two"} {
		if body, response := g.ask(g.front, http.MethodPost, "/any/path/?"+query, message); body != "ok" {
			t.Fatalf("POST: %s %s", response.Status, body)
		}
		body, response := g.ask(g.front, http.MethodGet, "/?"+query, "")
		if body != message {
			t.Fatalf("GET: %s %s", response.Status, body)
		}
		if got := response.Header["Access-Control-Allow-Origin"]; len(got) != 1 || len(response.Header["Date"]) != 1 {
			t.Errorf("doubled or lost headers: %v", response.Header)
		}
	}
	if n := g.forwarder.Stats().Forwarded.Load(); n != 4 {
		t.Errorf("%d requests are counted", n)
	}
	if body, response := g.ask(g.front, http.MethodPost, "/?"+query, "4"+strings.Repeat("x", 1000)); response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a large POST: %s %s", response.Status, body)
	}
}

func TestAForwardedSessionMovesToAWebsocket(t *testing.T) {
	g := start(t, "s")
	query := strings.Replace(g.open(), "polling", "websocket", 1)
	conn, err := net.Dial("tcp", g.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
	}
	frame := func(text string) { // masked with zeros
		t.Helper()
		if _, err := conn.Write(append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)); err != nil {
			t.Fatal(err)
		}
	}
	write("GET /?" + query + " HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", response, err)
	}
	expect := func(want string) {
		t.Helper()
		got := make([]byte, 2+len(want))
		if _, err := io.ReadFull(reader, got); err != nil || string(got[2:]) != want {
			t.Fatalf("%q, %v, want %q", got, err, want)
		}
	}
	frame("2probe")
	expect("3probe")
	frame("5")
	frame("4hello")
	expect("4hello")
}

func TestAPollIsAnsweredWhenTheServerBetweenStops(t *testing.T) {
	g := start(t, "s")
	query := g.open()
	go func() {
		for g.forwarder.InFlight() == 0 {
			time.Sleep(time.Millisecond)
		}
		close(g.ending)
	}()
	body, response := g.ask(g.front, http.MethodGet, "/?"+query, "")
	if body != "6" {
		t.Fatalf("%s %s", response.Status, body)
	}
	if body, _ := g.ask(g.public, http.MethodPost, "/?"+query, "4still open"); body != "ok" {
		t.Errorf("the session has ended: %s", body)
	}
}

// smallBuffer is for connections that are to take little while they are not read.
const smallBuffer = 4 << 10

// stalled opens a connection to the machine between, and sends a request for a session.
func (g *gateways) stalled(request string) net.Conn {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.front.Listener.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(smallBuffer); err != nil {
		g.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		g.t.Fatal(err)
	}
	return conn
}

// expectIdle waits until a request was forwarded, and no request is in flight.
func (g *gateways) expectIdle() {
	g.t.Helper()
	for deadline := time.Now().Add(patience); g.forwarder.Stats().Forwarded.Load() == 0 || g.forwarder.InFlight() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Fatalf("%d requests are in flight", g.forwarder.InFlight())
		}
	}
}

func TestAPollWhoseAnswerIsNotReadEnds(t *testing.T) {
	g := start(t, "s")
	g.writeTimeout = 100 * time.Millisecond
	query := g.open()
	g.ask(g.public, http.MethodPost, "/?"+query, "4large")
	conn := g.stalled("GET /?" + query + " HTTP/1.1\r\nHost: x\r\n\r\n")
	g.expectIdle()
	if n, _ := io.Copy(io.Discard, conn); n >= largeSize {
		t.Errorf("the answer was written in full: %d bytes", n)
	}
}

func TestAWebsocketEndsWithoutItsClient(t *testing.T) {
	for name, message := range map[string]string{"that does not read": "large", "that does not close it": "end"} {
		t.Run(name, func(t *testing.T) {
			g := start(t, "s")
			g.writeTimeout = 100 * time.Millisecond
			query := strings.Replace(g.open(), "polling", "websocket", 1)
			conn := g.stalled("GET /?" + query + " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
			if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || response.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%v, %v", response, err)
			}
			for _, text := range []string{"2probe", "5", "4" + message} { // masked with zeros
				if _, err := conn.Write(append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)); err != nil {
					t.Fatal(err)
				}
			}
			g.expectIdle()
		})
	}
}

// Stock clients reconnect after this answer.
const unknown = `{"code":1,"message":"Session ID unknown"`

func TestAMachineThatCannotBeReachedMakesTheClientReconnect(t *testing.T) {
	for name, c := range map[string]struct {
		fail func(*gateways)
		says string
	}{
		"gone":  {func(g *gateways) { g.node.Close() }, "connection refused"},
		"other": {func(*gateways) {}, "give each machine a node_address of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			knows := "s"
			if name == "other" {
				knows = "another cluster's"
			}
			g := start(t, knows)
			query := g.open()
			c.fail(g)
			body, response := g.ask(g.front, http.MethodGet, "/?"+query, "")
			if response.StatusCode != http.StatusBadRequest || !strings.HasPrefix(body, unknown) {
				t.Errorf("%s %s", response.Status, body)
			}
			if n := g.forwarder.Stats().Failed.Load(); n != 1 {
				t.Errorf("%d failures are counted", n)
			}
			if lines := g.logs.All(); len(lines) != 1 || lines[0].ContextMap()["node_address"] != g.node.URL || !strings.Contains(fmt.Sprint(lines[0].ContextMap()["error"]), c.says) {
				t.Errorf("logged %v", lines)
			}
		})
	}
}

func TestOnlyMachinesReachTheAddressForMachines(t *testing.T) {
	g := start(t, "s")
	query := g.open()
	for _, path := range []string{"/?" + query, "/", "/?EIO=4&transport=polling", "/publish"} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			body, response := g.ask(g.node, method, path, "4x")
			if response.StatusCode != http.StatusNotFound || !strings.Contains(body, `"code":"not_found"`) {
				t.Errorf("%s %s: %s %s", method, path, response.Status, body)
			}
			<-g.refusedByNode
		}
	}
	// The session is as it was.
	if body, _ := g.ask(g.front, http.MethodPost, "/?"+query, "4x"); body != "ok" {
		t.Errorf("the session has ended: %s", body)
	}
}
