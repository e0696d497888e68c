package client_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/seed-c079cc48/caddy-realtime/internal/client"
)

func TestMessageOverTheLimitIsAnError(t *testing.T) {
	parts := ws.NewTextFrame([]byte(strings.Repeat("4", 600)))
	parts.Header.Fin = false
	more := ws.NewFrame(ws.OpContinuation, false, []byte(strings.Repeat("4", 600)))
	for name, sent := range map[string][]byte{
		"whole":    texts(strings.Repeat("4", 1001)),
		"in parts": append(ws.MustCompileFrame(parts), ws.MustCompileFrame(more)...),
		"claimed":  {0x81, 0x7f, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			srv := rogue(t, func(conn net.Conn) {
				_, _ = conn.Write(append(texts(open, accepted), sent...))
				drain(conn)
			})
			cfg := config(srv.URL)
			cfg.MaxMessage = 1000
			if _, err := dial(t, cfg).Next(within(t)); !errors.Is(err, client.ErrTooLarge) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// An event of a few bytes takes more than a hundred bytes of memory.
func TestSmallEventsDuringSubscribeAreBounded(t *testing.T) {
	const limit = 10_000
	srv := rogue(t, func(conn net.Conn) {
		_, _ = conn.Write(texts(open, accepted))
		_, _ = conn.Write([]byte(strings.Repeat(string(texts(`42["e"]`)), limit/100)))
		_, _ = conn.Write(texts(`431[{"channel":"orders"}]`))
		drain(conn)
	})
	cfg := config(srv.URL)
	cfg.MaxMessage = limit
	if _, err := dial(t, cfg).Subscribe(within(t), "orders", client.From{}); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestAnswerToTheHandshakeIsBounded(t *testing.T) {
	const opens = "HTTP/1.1 101 Switching Protocols\r\n"
	for name, answer := range map[string][2]string{
		"status line": {"HTTP/1.1 101 ", "x"},
		"header line": {opens + "X-Long: ", "x"},
		"headers":     {opens, "X-More: x\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			served := make(chan int, 1)
			go func() {
				sent := 0
				defer func() { served <- sent }()
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, err = conn.Write([]byte(answer[0]))
				endless := []byte(strings.Repeat(answer[1], 10_000))
				for err == nil {
					var n int
					n, err = conn.Write(endless)
					sent += n
				}
			}()
			_, err = client.Dial(within(t), config("http://"+listener.Addr().String()))
			if !errors.Is(err, client.ErrNoWebSocket) || !strings.Contains(err.Error(), "over 128 KiB") {
				t.Errorf("got %v", err)
			}
			t.Logf("sent %d bytes, kernel buffers included", receive(t, served))
		})
	}
}
