package engineio_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

func TestOpeningTellsTheSession(t *testing.T) {
	cfg := config()
	cfg.PingInterval, cfg.PingTimeout, cfg.MaxPayload = 25*time.Second, 20*time.Second, 12345
	srv := serve(t, cfg, app{})

	polling, websocket := srv.openPolling().opening, srv.dial().opening
	if !slices.Equal(polling.Upgrades, []string{"websocket"}) {
		t.Errorf("polling may upgrade to %q", polling.Upgrades)
	}
	if websocket.Upgrades == nil || len(websocket.Upgrades) > 0 {
		t.Errorf("a websocket may upgrade to %q", websocket.Upgrades)
	}
	for _, o := range []opening{polling, websocket} {
		if len(o.SID) != 20 || o.PingInterval != 25000 || o.PingTimeout != 20000 || o.MaxPayload != 12345 {
			t.Errorf("the handshake says %+v", o)
		}
	}
	if polling.SID == websocket.SID {
		t.Error("two sessions have one id")
	}
	if n := srv.Len(); n != 2 {
		t.Errorf("%d sessions are open, not 2", n)
	}
}

func TestPollingAnswersAreTextAndNotStored(t *testing.T) {
	srv := serve(t, config(), app{})
	response, err := srv.client.Get(srv.http.URL + "/?EIO=4&transport=polling")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got := response.Header.Get("Content-Type"); got != "text/plain; charset=UTF-8" {
		t.Errorf("Content-Type: %s", got)
	}
	if got := response.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: %s", got)
	}
}

func TestRefusedRequests(t *testing.T) {
	srv := serve(t, config(), app{})
	p := srv.openPolling()
	for name, test := range map[string]struct {
		method, query string
		status, code  int
	}{
		"no query":                   {"GET", "", 400, 0},
		"no transport":               {"GET", "EIO=4", 400, 0},
		"unknown transport":          {"GET", "EIO=4&transport=abc", 400, 0},
		"webtransport":               {"GET", "EIO=4&transport=webtransport", 400, 0},
		"unknown transport, sid":     {"GET", "EIO=4&transport=abc&sid=" + p.SID, 400, 0},
		"unknown sid":                {"GET", "EIO=4&transport=polling&sid=abc", 400, 1},
		"unknown sid, POST":          {"POST", "EIO=4&transport=polling&sid=abc", 400, 1},
		"unknown sid, websocket":     {"GET", "EIO=4&transport=websocket&sid=abc", 400, 1},
		"POST handshake":             {"POST", "EIO=4&transport=polling", 400, 2},
		"POST handshake, websocket":  {"POST", "EIO=4&transport=websocket", 400, 2},
		"PUT handshake":              {"PUT", "EIO=4&transport=polling", 400, 2},
		"HEAD handshake":             {"HEAD", "EIO=4&transport=polling", 400, 2},
		"DELETE of a session":        {"DELETE", "EIO=4&transport=polling&sid=" + p.SID, 400, 3},
		"HEAD of a session":          {"HEAD", "EIO=4&transport=polling&sid=" + p.SID, 400, 3},
		"JSONP":                      {"GET", "EIO=4&transport=polling&j=0", 400, 3},
		"websocket without headers":  {"GET", "EIO=4&transport=websocket", 400, 3},
		"upgrade without headers":    {"GET", "EIO=4&transport=websocket&sid=" + p.SID, 400, 3},
		"no revision":                {"GET", "transport=polling", 400, 5},
		"revision 3":                 {"GET", "EIO=3&transport=polling", 400, 5},
		"revision abc":               {"GET", "EIO=abc&transport=polling", 400, 5},
		"revision 3, websocket":      {"GET", "EIO=3&transport=websocket", 400, 5},
		"query that cannot be split": {"GET", "EIO=4&transport=%zz", 400, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), test.method, srv.http.URL+"/?"+test.query, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := srv.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != test.status {
				t.Errorf("status %d, not %d: %s", response.StatusCode, test.status, body)
			}
			if test.method != http.MethodHead {
				isRefusal(t, body, test.code)
			}
		})
	}
	if n := srv.Len(); n != 1 {
		t.Errorf("%d sessions are open", n)
	}
	p.posts("4still here", 200)
	p.gets(200, "4still here")
}

func TestRefusalsNameTheCure(t *testing.T) {
	srv := serve(t, config(), app{})
	p, moved := srv.openPolling(), srv.openPolling()
	moved.upgrade()
	for _, test := range []struct{ method, query, cure string }{
		{"GET", "EIO=4&transport=polling&j=0", "connect with socket.io-client 3 or 4"},
		{"DELETE", "EIO=4&transport=polling&sid=" + p.SID, "takes GET and POST"},
		{"GET", "EIO=4&transport=polling&sid=" + moved.SID, "Reconnect"},
		{"POST", "EIO=4&transport=polling&sid=" + moved.SID, "Reconnect"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), test.method, srv.http.URL+"/?"+test.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := srv.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), test.cure) {
			t.Errorf("%s %s: %d %s %v, want %q", test.method, test.query, response.StatusCode, body, err, test.cure)
		}
	}
}

func isRefusal(t *testing.T, body []byte, code int) {
	t.Helper()
	var refusal struct {
		Code    *int
		Message string
		Error   struct{ Code, Message string }
	}
	if err := json.Unmarshal(body, &refusal); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if refusal.Code == nil || *refusal.Code != code || refusal.Message == "" || refusal.Error.Code == "" || refusal.Error.Message == "" {
		t.Errorf("the refusal is %s", body)
	}
}

// The requirements of RFC 6455, section 4.2.1.
func TestWebSocketHandshakeIsStrict(t *testing.T) {
	srv := serve(t, config(), app{})
	valid := strings.Replace(handshake, "%s", "", 1)
	for name, test := range map[string]struct {
		old, new string
		status   int
	}{
		"valid":                     {"", "", 101},
		"names in another case":     {"Upgrade: websocket\r\nConnection: Upgrade", "upgrade: WebSocket\r\nconnection: UPGRADE", 101},
		"more than one token":       {"Connection: Upgrade", "Connection: keep-alive, Upgrade", 101},
		"two lines of tokens":       {"Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade", 101},
		"an empty body":             {"Upgrade: websocket", "Upgrade: websocket\r\nContent-Length: 0", 101},
		"no Upgrade":                {"Upgrade: websocket\r\n", "", 400},
		"Upgrade to h2c":            {"Upgrade: websocket", "Upgrade: h2c", 400},
		"Upgrade with a long s":     {"Upgrade: websocket", "Upgrade: web\u017focket", 400},
		"no Connection":             {"Connection: Upgrade\r\n", "", 400},
		"Connection of other token": {"Connection: Upgrade", "Connection: keep-alive", 400},
		"Connection of longer name": {"Connection: Upgrade", "Connection: Upgraded", 400},
		"no key":                    {"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400},
		"empty key":                 {"dGhlIHNhbXBsZSBub25jZQ==", "", 400},
		"short key":                 {"dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j", 400},
		"long key":                  {"dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWFiYw==", 400},
		"key that is not base64":    {"dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZ!==", 400},
		"key twice":                 {"Sec-WebSocket-Key: ", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Key: ", 400},
		"no version":                {"Sec-WebSocket-Version: 13\r\n", "", 400},
		"version 12":                {"Version: 13", "Version: 12", 400},
		"version 8, 13":             {"Version: 13", "Version: 8, 13", 400},
		"HTTP/1.0":                  {"HTTP/1.1", "HTTP/1.0", 400},
		"a body":                    {"Sec-WebSocket-Version: 13\r\n\r\n", "Sec-WebSocket-Version: 13\r\nContent-Length: 1\r\n\r\nx", 400},
		"a chunked body":            {"Sec-WebSocket-Version: 13\r\n\r\n", "Sec-WebSocket-Version: 13\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"POST":                      {"GET", "POST", 400},
		"HTTP/1.1 CONNECT":          {"GET /engine.io/", "CONNECT /engine.io/", 400},
	} {
		t.Run(name, func(t *testing.T) {
			request := strings.Replace(valid, test.old, test.new, 1)
			conn := srv.connect()
			if _, err := conn.Write([]byte(request)); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(conn)
			response, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != test.status {
				t.Errorf("the answer is %s, not %d", response.Status, test.status)
			}
			if test.status == 101 {
				c := &socket{t: t, conn: conn, in: in}
				parseOpening(t, c.text())
			}
		})
	}
}

func TestWebSocketsOverHTTP2AreRefusedWithAReason(t *testing.T) {
	srv := serveTLS(t, config(), app{})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.http.URL+"/?EIO=4&transport=websocket", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-WebSocket-Version", "13")
	r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	response, err := srv.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 || response.StatusCode != http.StatusBadRequest {
		t.Errorf("%s %s", response.Proto, response.Status)
	}

	// RFC 8441, as net/http presents it.
	r = httptest.NewRequest(http.MethodConnect, "/?EIO=4&transport=websocket", nil)
	r.ProtoMajor, r.ProtoMinor = 2, 0
	r.Header.Set(":protocol", "websocket")
	recorder := httptest.NewRecorder()
	srv.ServeHTTP(recorder, r)
	if recorder.Code != http.StatusNotImplemented {
		t.Errorf("extended CONNECT: %d", recorder.Code)
	}
	isRefusal(t, recorder.Body.Bytes(), 3)

	// Over HTTP/1.1, CONNECT is like any other method that opens no session.
	r.ProtoMajor, r.ProtoMinor = 1, 1
	recorder = httptest.NewRecorder()
	srv.ServeHTTP(recorder, r)
	if recorder.Code != http.StatusBadRequest {
		t.Errorf("CONNECT: %d", recorder.Code)
	}
	isRefusal(t, recorder.Body.Bytes(), 2)
}

func TestWhatAcceptSendsComesBehindTheHandshake(t *testing.T) {
	srv := serve(t, config(), app{accept: func(s *engineio.Session) {
		s.Send(engineio.TextPacket([]byte("hel"), []byte("lo")), engineio.BinaryPacket([]byte{1, 2}))
	}})
	c := srv.dial()
	c.gets("4hello")
	if f, err := c.next(); err != nil || f.Header.OpCode != ws.OpBinary || !bytes.Equal(f.Payload, []byte{1, 2}) {
		t.Errorf("%+v: %v", f, err)
	}
	srv.openPolling().gets(200, "4hello\x1ebAQI=")
}

func TestCloseWithinAccept(t *testing.T) {
	srv := serve(t, config(), app{accept: func(s *engineio.Session) {
		s.Send(engineio.TextPacket([]byte("no")))
		s.Close("not today")
	}})
	c := srv.dial()
	p := srv.peer(c.SID)
	c.gets("4no")
	c.closes(ws.StatusNormalClosure)
	p.endsWith("not today")

	polling := srv.openPolling()
	p = srv.peer(polling.SID)
	polling.gets(200, "4no")
	polling.gets(200, "1")
	p.endsWith("not today")
	polling.gets(400, "")
}

func TestAbortWithinAccept(t *testing.T) {
	srv := serve(t, config(), app{accept: func(s *engineio.Session) { s.Abort("not at all") }})
	srv.websocket("").ends()
	srv.openPolling().gets(400, "")
}

func TestPanicWithinAccept(t *testing.T) {
	server := engineio.NewServer(config(), func(*engineio.Session) engineio.Receiver { panic("no receiver") })
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/?EIO=4&transport=polling", nil))
	if recorder.Code != http.StatusInternalServerError {
		t.Errorf("status %d", recorder.Code)
	}
	eventually(t, "the session is gone", func() bool { return server.Len() == 0 })
	server.Close() // waits for all sessions
}

func TestRequestsAfterCloseAreRefused(t *testing.T) {
	srv := serve(t, config(), app{})
	p := srv.openPolling()
	srv.Close()
	p.gets(400, "")
	status, body := (&poller{server: srv}).get()
	if status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", status, body)
	}
}
