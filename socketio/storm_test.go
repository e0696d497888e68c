package socketio_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// opens reports whether a websocket is admitted, without CONNECT.
func (s *server) opens() bool {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	conn, _, _, err := ws.Dial(ctx, strings.Replace(s.http.URL, "http", "ws", 1)+"/socket.io/?EIO=4&transport=websocket")
	if refused, ok := errors.AsType[ws.StatusError](err); ok && int(refused) == http.StatusServiceUnavailable {
		return false
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return true
}

func TestClientsOverTheBoundAreToldToComeBack(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	srv := serve(t, app{maxConnecting: 3, logger: zap.New(core)})
	for range 3 {
		srv.dial()
	}
	for _, transport := range []string{"websocket", "polling"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.http.URL+"/socket.io/?EIO=4&transport="+transport, nil)
		if err != nil {
			t.Fatal(err)
		}
		if transport == "websocket" {
			request.Header.Set("Connection", "Upgrade")
			request.Header.Set("Upgrade", "websocket")
			request.Header.Set("Sec-WebSocket-Version", "13")
			request.Header.Set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		var refusal struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal(body, &refusal); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") != "1" || refusal.Error.Code != "unavailable" {
			t.Errorf("%s: %s, Retry-After %q: %s", transport, answer.Status, answer.Header.Get("Retry-After"), body)
		}
	}
	if n := srv.sockets.Refused(); n != 2 {
		t.Errorf("%d were refused, want 2", n)
	}
	// A client reads its refusal while its session is still closing.
	eventually(t, "only the three are open", func() bool { return srv.engine.Len() == 3 })
	if n := logs.FilterMessageSnippet("raise max_connecting").Len(); n != 1 {
		t.Errorf("the log says so %d times, want once", n)
	}
}

func TestTheBoundIsOnConnectingClientsOnly(t *testing.T) {
	srv := serve(t, app{maxConnecting: 2})
	for range 10 { // each is connected before the next dials
		srv.connect()
	}
	waits, goes := srv.dial(), srv.dial()
	if srv.opens() {
		t.Error("a third may connect at a time")
	}
	waits.send("40")
	waits.wantConnected()
	goes.conn.Close()
	eventually(t, "both places are free", func() bool { return srv.sockets.Connecting() == 0 })
	if !srv.opens() {
		t.Error("nobody may connect any more")
	}
}

func TestADisconnectedClientConnectsAgainIfThereIsAPlace(t *testing.T) {
	srv := serve(t, app{maxConnecting: 1})
	c := srv.connect()
	c.send("41", "40")
	c.wantConnected()
	srv.dial()
	c.send("41")
	c.wantClosed()
	if n := srv.sockets.Connecting(); n != 1 {
		t.Errorf("%d connect, one may", n)
	}
}

func TestSilentClientsAreHurriedWhenManyConnect(t *testing.T) {
	srv := serve(t, app{maxConnecting: 4, connectTimeout: 2 * time.Second})
	first := []*client{srv.dial(), srv.dial()}
	hurried := srv.dial()
	begin := time.Now()
	hurried.wantClosed()
	soon := time.Since(begin)
	for _, c := range first {
		c.wantClosed()
	}
	if late := time.Since(begin); soon > late-500*time.Millisecond {
		t.Errorf("closed after %v, those that came before after %v", soon, late)
	}
}

// The answer to a websocket's close, or a poll that can deliver the close, may
// never come.
func TestASilentClientLosesItsPlaceAtTheConnectTimeout(t *testing.T) {
	for _, transport := range []string{"websocket", "polling"} {
		t.Run(transport, func(t *testing.T) {
			srv := serve(t, app{maxConnecting: 1, connectTimeout: 500 * time.Millisecond})
			if transport == "websocket" {
				srv.opens() // reads nothing
			} else {
				answer, err := http.Get(srv.http.URL + "/socket.io/?EIO=4&transport=polling")
				if err != nil {
					t.Fatal(err)
				}
				answer.Body.Close()
			}
			if srv.opens() {
				t.Fatal("a second may connect at a time")
			}
			eventually(t, "the place is free", func() bool { return srv.sockets.Connecting() == 0 })
			if srv.engine.Len() != 1 {
				t.Error("the session has ended already; this test is of nothing")
			}
			if !srv.opens() {
				t.Error("nobody may connect any more")
			}
			eventually(t, "the next one's is, too", func() bool { return srv.sockets.Connecting() == 0 })
			srv.close()
			if n := srv.sockets.Connecting(); n != 0 {
				t.Errorf("%d connect when all have gone", n)
			}
		})
	}
}

func TestTheBoundChangesAtOnce(t *testing.T) {
	srv := serve(t, app{maxConnecting: 1})
	srv.dial()
	if srv.opens() {
		t.Fatal("a second may connect at a time")
	}
	srv.sockets.Configure(socketio.Config{ConnectTimeout: patience, MaxConnecting: 2})
	if !srv.opens() {
		t.Error("the bound is still one")
	}
}
