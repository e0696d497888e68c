package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/seed-c079cc48/caddy-realtime/internal/client"
)

func TestWhatNoGatewaySendsIsAnError(t *testing.T) {
	binary := ws.MustCompileFrame(ws.NewBinaryFrame([]byte("x")))
	masked := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("6"))))
	for name, sent := range map[string][]byte{
		"no handshake":          texts(accepted),
		"no JSON":               texts(`0{`),
		"no heartbeat":          texts(`0{"sid":"s"}`),
		"heartbeat of ages":     texts(`0{"sid":"s","pingInterval":9223372036854775807,"pingTimeout":1}`),
		"event before CONNECT":  texts(open, `42["e"]`),
		"refusal without words": texts(open, `44{}`),
		"no type":               texts(open, accepted, `4`),
		"empty message":         texts(open, accepted, ``),
		"unknown type":          texts(open, accepted, `9`),
		"unknown packet":        texts(open, accepted, `4x`),
		"event without a name":  texts(open, accepted, `42[]`),
		"name that is a number": texts(open, accepted, `42[1]`),
		"name that is null":     texts(open, accepted, `42[null]`),
		"two arguments":         texts(open, accepted, `42["e",1,2]`),
		"an id that is none":    texts(open, accepted, `42["e",1,null]`),
		"an endless event id":   texts(open, accepted, `42["e",1,"`+strings.Repeat("x", 257)+`"]`),
		"three arguments":       texts(open, accepted, `42["e",1,"x","y"]`),
		"half an event":         texts(open, accepted, `42["e"`),
		"other namespace":       texts(open, accepted, `42/admin,["e"]`),
		"endless id":            texts(open, accepted, `42`+strings.Repeat("9", 100)+`["e"]`),
		"binary event":          texts(open, accepted, `451-["e",{"_placeholder":true,"num":0}]`),
		"binary message":        append(texts(open, accepted), binary...),
		"masked frame":          append(texts(open, accepted), masked...),
		"no UTF-8":              texts(open, accepted, "42[\"\xff\"]"),
		"reserved bits":         append(texts(open, accepted), 0xf1, 0x01, '6'),
		"length of ages":        append(texts(open, accepted), 0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
	} {
		t.Run(name, func(t *testing.T) {
			srv := rogue(t, func(conn net.Conn) {
				_, _ = conn.Write(sent)
				drain(conn)
			})
			cfg := config(srv.URL)
			cfg.MaxMessage = 1000
			c, err := client.Dial(within(t), cfg)
			if err == nil {
				defer c.Close()
				_, err = c.Next(within(t))
			}
			if !errors.Is(err, client.ErrProtocol) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestControlFramesBetweenFragments(t *testing.T) {
	pong := make(chan []byte, 1)
	srv := rogue(t, func(conn net.Conn) {
		first := ws.NewTextFrame([]byte(`42["e",`))
		first.Header.Fin = false
		last := ws.NewFrame(ws.OpContinuation, true, []byte(`"é"]`))
		var sent bytes.Buffer
		sent.Write(texts(open, accepted, "6", "430[]"))
		for _, frame := range []ws.Frame{ws.NewPingFrame(nil), ws.NewPongFrame([]byte("unasked")), first, ws.NewPingFrame([]byte("there?")), last} {
			_ = ws.WriteFrame(&sent, frame) // a buffer accepts everything
		}
		_, _ = conn.Write(sent.Bytes())
		for range 3 { // CONNECT and the pongs
			if op, payload, err := readFrame(conn); err == nil && op == ws.OpPong && len(payload) > 0 {
				pong <- payload
			}
		}
		drain(conn)
	})
	c := dial(t, config(srv.URL))
	want(t, c, "e", `"é"`)
	if got := receive(t, pong); string(got) != "there?" {
		t.Errorf("pong has %q", got)
	}
}

func TestHeartbeatIsAnswered(t *testing.T) {
	srv := rogue(t, func(conn net.Conn) {
		_, _ = conn.Write(texts(open, accepted, "2"))
		pings := 1
		for {
			_, payload, err := readFrame(conn)
			if err != nil {
				return
			}
			switch text := string(payload); {
			case text == "3" && pings < 3:
				pings++
				_, _ = conn.Write(texts("2"))
			case text == "3":
				_, _ = conn.Write(texts(`431[{"channel":"orders"}]`, "2", `42["alive"]`))
			}
		}
	})
	c := dial(t, config(srv.URL))
	subscribe(t, c, "orders")
	want(t, c, "alive", "")
}

func TestSilentServerIsNoticed(t *testing.T) {
	srv := rogue(t, func(conn net.Conn) {
		_, _ = conn.Write(texts(`0{"sid":"s","pingInterval":20,"pingTimeout":30}`, accepted))
		drain(conn)
	})
	c := dial(t, config(srv.URL))
	if _, err := c.Next(within(t)); !errors.Is(err, client.ErrSilent) {
		t.Errorf("got %v", err)
	}
}

func TestEndsOfATransport(t *testing.T) {
	for name, sent := range map[string][]byte{
		"close packet":        texts("1"),
		"close frame":         ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusGoingAway, "bye"))),
		"close without code":  ws.MustCompileFrame(ws.NewCloseFrame(nil)),
		"end":                 nil,
		"end in a header":     {0x81},
		"end within a frame":  {0x81, 0x05, '4', '2'},
		"end between frames":  {0x01, 0x01, '4'},
		"end of a long frame": {0x81, 0x7e, 0x03},
	} {
		t.Run(name, func(t *testing.T) {
			srv := rogue(t, func(conn net.Conn) {
				_, _ = conn.Write(texts(open))
				if _, _, err := readFrame(conn); err == nil { // left unread, it would reset the connection
					_, _ = conn.Write(append(texts(accepted), sent...))
				}
			})
			_, err := dial(t, config(srv.URL)).Next(within(t))
			if !errors.Is(err, client.ErrClosed) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestEventsDuringSubscribeAreBounded(t *testing.T) {
	srv := rogue(t, func(conn net.Conn) {
		_, _ = conn.Write(texts(open, accepted))
		event := texts(`42["e","` + strings.Repeat("x", 400) + `"]`)
		for {
			if _, err := conn.Write(event); err != nil {
				return
			}
		}
	})
	cfg := config(srv.URL)
	cfg.MaxMessage = 10_000
	if _, err := dial(t, cfg).Subscribe(within(t), "orders", client.From{}); err == nil || !strings.Contains(err.Error(), "too many events") {
		t.Errorf("got %v", err)
	}
}

func TestAnswersThatOpenNoWebSocket(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		headers map[string]string
		body    string
		want    client.StatusError
	}{
		"another site": {status: 404, body: "<html>", want: client.StatusError{Status: 404}},
		"a page":       {status: 200, body: "<html>", want: client.StatusError{Status: 200}},
		"the gateway": {
			status: 400, body: `{"error":{"code":"invalid_request","message":"No."}}`,
			want: client.StatusError{Status: 400, Message: "No."},
		},
		"a redirect": {
			status: 308, headers: map[string]string{"Location": "https://example.com/"},
			want: client.StatusError{Status: 308, Location: "https://example.com/"},
		},
		"busy": {
			status: 503, headers: map[string]string{"Retry-After": "7"},
			want: client.StatusError{Status: 503, RetryAfter: 7 * time.Second},
		},
		"busy, nonsense": {status: 503, headers: map[string]string{"Retry-After": "-1"}, want: client.StatusError{Status: 503}},
		"busy for ages": {
			status: 503, headers: map[string]string{"Retry-After": "4000000000"},
			want: client.StatusError{Status: 503, RetryAfter: 5 * time.Minute},
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for key, value := range c.headers {
					w.Header().Set(key, value)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer srv.Close()
			_, err := client.Dial(within(t), config(srv.URL))
			got, ok := errors.AsType[*client.StatusError](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if *got != c.want {
				t.Errorf("got %+v, want %+v", *got, c.want)
			}
		})
	}
}

func TestFullGatewaySaysWhenToComeAgain(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	srv := serve(t, gateway{maxConnecting: 1, connect: func(json.RawMessage) error {
		entered <- struct{}{}
		<-leave
		return nil
	}})
	first := make(chan error, 1)
	go func() {
		c, err := client.Dial(within(t), config(srv.URL))
		if err == nil {
			err = c.Close()
		}
		first <- err
	}()
	receive(t, entered)
	_, err := client.Dial(within(t), config(srv.URL))
	status, ok := errors.AsType[*client.StatusError](err)
	if !ok || status.Status != http.StatusServiceUnavailable || status.RetryAfter != time.Second || status.Message == "" {
		t.Errorf("got %#v", err)
	}
	close(leave)
	if err := receive(t, first); err != nil {
		t.Error(err)
	}
}

func TestAnswersThatAreNoHTTP(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
		"SSH-2.0-OpenSSH_9.6\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: bm8=\r\n\r\n",
	} {
		listener, err := net.Listen("tcp", "localhost:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(answer))
			drain(conn)
			_ = conn.Close()
		}()
		_, err = client.Dial(within(t), config("http://"+listener.Addr().String()))
		if !errors.Is(err, client.ErrNoWebSocket) {
			t.Errorf("%q: got %v", answer, err)
		}
		_ = listener.Close()
		<-served
	}
}

func TestUnknownAuthorityIsAnError(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	_, err := client.Dial(within(t), config(srv.URL))
	if err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("got %v", err)
	}
}
