package realtime

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// A testSite is a handler and its runtime behind a plain HTTP server.
type testSite struct {
	*runtime
	t       *testing.T
	addr    string
	handler *Handler
}

// newSite starts a site with the defaults, after configure has changed them.
func newSite(t *testing.T, configure func(*App, *Handler)) *testSite {
	t.Helper()
	app := &App{logger: zap.NewNop(), started: make(chan struct{}), hold: new(engineio.Hold)}
	h := &Handler{app: app, logger: zap.NewNop(), PublishPath: "/publish", SocketPath: "/socket.io", ending: make(chan struct{})}
	app.setDefaults()
	if configure != nil {
		configure(app, h)
	}
	var err error
	if h.origins, err = access.ParseOrigins(h.Origins); err != nil {
		t.Fatal(err)
	}
	app.keystore, app.broker = &BadgerKeystore{dir: t.TempDir()}, new(MemoryBroker)
	if app.runtime, err = openRuntime(app); err != nil {
		t.Fatal(err)
	}
	close(app.started)
	if err := app.runtime.start(app); err != nil {
		t.Fatal(err)
	}
	notFound := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusTeapot)
		return nil
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.ServeHTTP(w, r, notFound); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(func() {
		if err := app.runtime.Destruct(); err != nil {
			t.Error(err)
		}
		server.Close()
		if c, n := app.runtime.hub.Channels(), app.runtime.hub.Subscriptions(); c != 0 || n != 0 {
			t.Errorf("%d channels and %d subscriptions are left", c, n)
		}
	})
	return &testSite{runtime: app.runtime, t: t, addr: server.Listener.Addr().String(), handler: h}
}

func (s *testSite) newApp() keystore.Created {
	s.t.Helper()
	made, err := s.registry.Create("shop")
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

func (s *testSite) publish(app *keystore.App, m message.Publication) (message.Receipt, error) {
	receipt, _, err := s.publisher.Publish(s.t.Context(), app, m)
	return receipt, err
}

// mailbox keeps the packets of one client.
type mailbox struct {
	*client.Client
	t       *testing.T
	packets chan string
}

// dial connects a client and collects its packets.
func (s *testSite) dial(transport client.Transport, app, key string) *mailbox {
	s.t.Helper()
	m := &mailbox{t: s.t, packets: make(chan string, 1000)}
	var err error
	m.Client, err = client.Dial(client.Config{
		Addr: s.addr, Transport: transport, AppID: app, Key: key,
		OnPacket: func(packet string) { m.packets <- packet },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = m.Close() })
	return m
}

// want waits for these packets.
func (m *mailbox) want(packets ...string) {
	m.t.Helper()
	for _, want := range packets {
		select {
		case got := <-m.packets:
			if got != want {
				m.t.Fatalf("got %s, want %s", got, want)
			}
		case <-time.After(10 * time.Second):
			m.t.Fatalf("nothing came, want %s", want)
		}
	}
}

func (m *mailbox) emit(packets ...string) {
	m.t.Helper()
	for _, p := range packets {
		if err := m.Write("42" + p); err != nil {
			m.t.Fatal(err)
		}
	}
}

// until polls until a condition holds.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10s: %s", what)
		}
	}
}

var transports = []client.Transport{client.OverWebSocket, client.OverPolling, client.Upgraded}

func TestSubscriberGetsTheEventsOfItsChannel(t *testing.T) {
	for _, transport := range transports {
		t.Run(string(transport), func(t *testing.T) {
			s := newSite(t, nil)
			made := s.newApp()
			m := s.dial(transport, made.App.ID, made.SubscribeKey)
			m.emit(`["subscribe","orders.42"]`)
			m.want(`2["subscribed",{"channel":"orders.42"}]`)
			for _, data := range []string{`{"id":42}`, `null`, `12345678901234567890`, `"\u00e9\n"`, `{"b":1,"a":[1e400]}`} {
				if _, err := s.publish(made.App, message.Publication{Channel: "orders.42", Event: "order.updated", Data: json.RawMessage(data)}); err != nil {
					t.Fatal(err)
				}
				m.want(`2["order.updated",` + data + `]`)
			}
			if _, err := s.publish(made.App, message.Publication{Channel: "orders.42", Event: "bare"}); err != nil {
				t.Fatal(err)
			}
			m.want(`2["bare"]`)
		})
	}
}

func TestSubscribeIsAnsweredEveryTime(t *testing.T) {
	s := newSite(t, nil)
	made := s.newApp()
	m := s.dial(client.OverWebSocket, made.App.ID, made.SubscribeKey)
	m.emit(`["subscribe","a"]`, `7["subscribe","a"]`, `8["unsubscribe","a"]`, `9["unsubscribe","a"]`)
	m.want(`2["subscribed",{"channel":"a"}]`,
		`2["subscribed",{"channel":"a"}]`, `37[{"channel":"a"}]`,
		`2["unsubscribed",{"channel":"a"}]`, `38[{"channel":"a"}]`,
		`2["unsubscribed",{"channel":"a"}]`, `39[{"channel":"a"}]`)
	if r, err := s.publish(made.App, message.Publication{Channel: "a", Event: "e"}); err != nil || r.Subscribers != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Attachments are counted but not read: otherwise a placeholder for a missing
// attachment would end the connection.
func TestASubscribeWithAttachmentsIsRefusedUnread(t *testing.T) {
	s := newSite(t, nil)
	made := s.newApp()
	m := s.dial(client.OverPolling, made.App.ID, made.SubscribeKey)
	next := func() string {
		select {
		case packet := <-m.packets:
			return packet
		case <-m.Done():
			t.Fatal("the connection has ended")
			panic("unreachable")
		}
	}
	for name, says := range map[string]string{
		"subscribe": "subscribe takes a channel, and options", "unsubscribe": "unsubscribe takes one argument, a channel",
	} {
		if err := m.Write(`452-7["`+name+`",{"_placeholder":true,"num":9}]`, "bAAAA", "bAAAA"); err != nil {
			t.Fatal(err)
		}
		if packet := next(); !strings.HasPrefix(packet, `2["subscribe_error",{"channel":"","code":"invalid_request","message":"`+says) {
			t.Errorf("got %s", packet)
		}
		if ack := next(); !strings.HasPrefix(ack, `37[{"error":{"code":"invalid_request"`) {
			t.Errorf("acknowledgement %s", ack)
		}
	}
	m.emit(`["subscribe","a"]`)
	m.want(`2["subscribed",{"channel":"a"}]`)
}

func TestClientCannotPublish(t *testing.T) {
	s := newSite(t, nil)
	made := s.newApp()
	m := s.dial(client.OverWebSocket, made.App.ID, made.SubscribeKey)
	other := s.dial(client.OverWebSocket, made.App.ID, made.SubscribeKey)
	other.emit(`["subscribe","a"]`)
	other.want(`2["subscribed",{"channel":"a"}]`)
	m.emit(`["order.updated",{"id":1}]`, `["subscribed",{"channel":"a"}]`, `4["publish","a"]`)
	if ack := <-m.packets; !strings.HasPrefix(ack, `34[{"error":{"code":"not_allowed"`) {
		t.Errorf("got %s", ack)
	}
	if n := s.refused("emit", "not_allowed"); n != 3 {
		t.Errorf("counted %v, want 3", n)
	}
	if _, err := s.publish(made.App, message.Publication{Channel: "a", Event: "after"}); err != nil {
		t.Fatal(err)
	}
	other.want(`2["after"]`)
}

// connectError returns the error that a client gets for a CONNECT.
func (s *testSite) connectError(query, origin, connect string) (code, message string) {
	s.t.Helper()
	request := client.HandshakeRequest(s.addr, "/socket.io/?EIO=4&transport=websocket"+query)
	if origin != "" {
		request = strings.Replace(request, "\r\n\r\n", "\r\nOrigin: "+origin+"\r\n\r\n", 1)
	}
	socket, err := client.DialRequest(s.addr, request, client.TextFrame(connect))
	if err != nil {
		s.t.Fatal(err)
	}
	defer socket.Close()
	if _, err := socket.Read(); err != nil {
		s.t.Fatal(err)
	}
	answer, err := socket.Read()
	if err != nil {
		s.t.Fatal(err)
	}
	text, refused := strings.CutPrefix(answer, "44")
	if !refused {
		return "", answer
	}
	var e struct {
		Message string
		Data    struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil || e.Message != e.Data.Message {
		s.t.Fatalf("%s: %v", answer, err)
	}
	return e.Data.Code, e.Message
}

func TestRefusedConnectionIsToldWhy(t *testing.T) {
	s := newSite(t, func(_ *App, h *Handler) { h.Origins = []string{"https://app.example.com"} })
	made, disabled, expired, revoked, picky := s.newApp(), s.newApp(), s.newApp(), s.newApp(), s.newApp()
	change := func(made keystore.Created, change func(*keystore.App)) {
		t.Helper()
		if _, err := s.registry.Update(made.App.ID, func(a *keystore.App) error { change(a); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-time.Second)
	change(disabled, func(a *keystore.App) { a.Disabled = true })
	change(expired, func(a *keystore.App) { a.Keys[1].Expires = past })
	change(revoked, func(a *keystore.App) { a.Keys[1].Revoked = past })
	change(picky, func(a *keystore.App) { a.AllowedOrigins = []string{"https://other.example.com"} })
	auth := func(app keystore.Created, key string) string {
		return fmt.Sprintf(`40{"appId":%q,"subscribeKey":%q}`, app.App.ID, key)
	}
	good := auth(made, made.SubscribeKey)
	for _, tc := range []struct{ name, query, origin, connect, code string }{
		{"good", "", "", good, ""},
		{"more in auth", "", "", `40{"more":[1],` + good[3:], ""},
		{"listed origin", "", "https://app.example.com", good, ""},
		{"no auth", "", "", "40", "missing_app_id"},
		{"null", "", "", "40null", "missing_app_id"},
		{"string", "", "", `40"secret"`, "invalid_request"},
		{"array", "", "", `40["a"]`, "invalid_request"},
		{"empty", "", "", "40{}", "missing_app_id"},
		{"other case", "", "", `40{"appid":"a","subscribekey":"b"}`, "missing_app_id"},
		{"id of a wrong type", "", "", `40{"appId":7,"subscribeKey":"x"}`, "invalid_request"},
		{"key of a wrong type", "", "", `40{"appId":"app_x","subscribeKey":{}}`, "invalid_request"},
		{"no key", "", "", `40{"appId":"` + made.App.ID + `"}`, "missing_key"},
		{"unknown app", "", "", `40{"appId":"app_none","subscribeKey":"x"}`, "unknown_app"},
		{"invalid key", "", "", auth(made, "nonsense"), "invalid_key"},
		{"publish key", "", "", auth(made, made.PublishKey), "wrong_key_kind"},
		{"another app's key", "", "", auth(made, disabled.SubscribeKey), "invalid_key"},
		{"disabled", "", "", auth(disabled, disabled.SubscribeKey), "app_disabled"},
		{"expired", "", "", auth(expired, expired.SubscribeKey), "key_expired"},
		{"revoked", "", "", auth(revoked, revoked.SubscribeKey), "key_revoked"},
		{"key in the query", "&subscribeKey=" + made.SubscribeKey, "", good, "invalid_request"},
		{"only in the query", "&appId=" + made.App.ID + "&key=x", "", "40", "missing_app_id"},
		{"refused origin", "", "https://evil.example.com", good, "origin_not_allowed"},
		{"origin that the app refuses", "", "https://app.example.com", auth(picky, picky.SubscribeKey), "origin_not_allowed"},
		{"no origin for the app", "", "", auth(picky, picky.SubscribeKey), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, message := s.connectError(tc.query, tc.origin, tc.connect)
			if code != tc.code {
				t.Errorf("got %q, %s; want %q", code, message, tc.code)
			}
			if strings.Contains(message, "live_") && !strings.Contains(message, "live_…") {
				t.Errorf("the message repeats a key: %s", message)
			}
		})
	}
	until(t, "no socket is remembered", func() bool { return s.sockets.Count(made.App.ID) == 0 && len(s.sockets.byAppCopy()) == 0 })
}

// byAppCopy counts the sockets of each app.
func (s *sockets) byAppCopy() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := make(map[string]int)
	for app, sockets := range s.byApp {
		n[app] = len(sockets)
	}
	return n
}

func TestDeletedAppDisconnectsItsSocketsAndNoOthers(t *testing.T) {
	for _, transport := range transports {
		t.Run(string(transport), func(t *testing.T) {
			s := newSite(t, nil)
			gone, stays := s.newApp(), s.newApp()
			m := s.dial(transport, gone.App.ID, gone.SubscribeKey)
			other := s.dial(transport, stays.App.ID, stays.SubscribeKey)
			if err := s.registry.Delete(gone.App.ID); err != nil {
				t.Fatal(err)
			}
			m.want("1") // DISCONNECT, after which stock clients do not reconnect
			select {
			case <-m.Done():
			case <-time.After(5 * time.Second):
				t.Fatal("the transport was not closed")
			}
			other.emit(`["subscribe","a"]`)
			other.want(`2["subscribed",{"channel":"a"}]`)
		})
	}
}

func TestRevokedKeyDisconnectsItsSockets(t *testing.T) {
	s := newSite(t, nil)
	made, second := s.newApp(), s.newApp()
	// A second valid key of the same app, copied from another app's.
	if _, err := s.registry.Update(made.App.ID, func(a *keystore.App) error {
		a.Keys = append(a.Keys, second.App.Keys[1])
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	m := s.dial(client.OverWebSocket, made.App.ID, made.SubscribeKey)
	other := s.dial(client.OverWebSocket, made.App.ID, second.SubscribeKey)
	if _, err := s.registry.Update(made.App.ID, func(a *keystore.App) error {
		a.Keys[1].Revoked = time.Now()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	m.want("1")
	other.emit(`["subscribe","a"]`)
	other.want(`2["subscribed",{"channel":"a"}]`)
}

func TestSocketThatConnectsWhileItsAppIsDeletedDoesNotStay(t *testing.T) {
	s := newSite(t, func(app *App, _ *Handler) {
		app.AuthFailures = &Rate{Count: 1000, Window: caddy.Duration(time.Minute)} // no address is slowed down
	})
	for range 100 {
		made := s.newApp()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				c, err := client.Dial(client.Config{Addr: s.addr, Transport: client.OverWebSocket, AppID: made.App.ID, Key: made.SubscribeKey})
				if err != nil {
					return // refused
				}
				select {
				case <-c.Done(): // disconnected
				case <-time.After(10 * time.Second):
					t.Error("a socket of a deleted app stays connected")
				}
				_ = c.Close()
			})
		}
		wg.Go(func() {
			if err := s.registry.Delete(made.App.ID); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
	}
	until(t, "no sockets", func() bool { return len(s.sockets.byAppCopy()) == 0 })
}

func TestOtherPathsGoToTheNextHandler(t *testing.T) {
	s := newSite(t, nil)
	for path, want := range map[string]int{
		"/":                       http.StatusTeapot,
		"/publishx":               http.StatusTeapot,
		"/publish/x":              http.StatusTeapot,
		"/publish;x":              http.StatusTeapot,
		"/socket.io/socket.io.js": http.StatusTeapot,
		"/socket.iox":             http.StatusTeapot,
		"/publish":                http.StatusMethodNotAllowed,
		"/socket.io":              http.StatusBadRequest,
		"/socket.io/":             http.StatusBadRequest,
	} {
		answer, err := http.Get("http://" + s.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, answer.StatusCode, want)
		}
	}
}

func TestHandshakesAreRefusedDuringADrain(t *testing.T) {
	s := newSite(t, nil)
	made := s.newApp()
	m := s.dial(client.OverWebSocket, made.App.ID, made.SubscribeKey)
	s.drain()
	select {
	case <-m.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("the socket was not closed")
	}
	answer, err := http.Get("http://" + s.addr + "/socket.io/?EIO=4&transport=polling")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
		t.Errorf("%s, Retry-After %q", answer.Status, answer.Header.Get("Retry-After"))
	}
}
