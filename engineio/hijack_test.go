package engineio_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// A session can end while its websocket's handshake is being answered.

func TestAbortWhileAConnectionIsTakenOver(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		b.hijacking = func() error {
			b.last.Abort("test")
			return nil
		}
		b.websocket("").drained()
		b.last.endsWith("test")

		p := b.openPolling()
		b.websocket(p.ID()).drained()
		p.endsWith("test")
	})
}

func TestCloseWhileAConnectionIsTakenOver(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		b.hijacking = func() error {
			b.last.Send(engineio.TextPacket([]byte("last")))
			b.last.Close("test")
			return nil
		}
		c, p := b.dial()
		c.gets("4last")
		c.closes(ws.StatusNormalClosure)
		p.endsWith("test")

		p = b.openPolling()
		b.websocket(p.ID()).drained()
		b.gets(p, 200, "4last")
		b.gets(p, 200, "1")
		p.endsWith("test")
	})
}

func TestServerCloseWhileAConnectionIsTakenOver(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		b.hijacking = func() error {
			go b.Close()
			synctest.Wait()
			return nil
		}
		p := b.openPolling()
		b.websocket(p.ID()).drained()
		p.endsWith(engineio.ServerShutdown)
	})
}

func TestAConnectionThatCannotBeTakenOver(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		p := b.openPolling()
		b.hijacking = func() error { return errors.New("no connection") }
		b.websocket("")
		b.last.endsWith(engineio.TransportError)
		b.websocket(p.ID())
		b.posts(p, "4hello")
		b.gets(p, 200, "4hello")
		b.hijacking = nil
		b.websocket(p.ID()).send("2probe")
	})
}

// The end of such a poll tells the session nothing.
func TestARefusedPollThatIsGivenUpEndsNothing(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		p := b.openPolling()
		c := b.websocket(p.ID())
		c.send("2probe")
		c.gets("3probe")
		c.send("5")
		synctest.Wait()
		p.CancelRefused()
		c.send("4hello")
		c.gets("4hello")
	})
}

// A lateWriter answers a handshake after its deadline.
type lateWriter struct {
	http.ResponseWriter
	by time.Duration
}

func (w lateWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w lateWriter) WriteHeader(status int) {
	time.Sleep(w.by)
	w.ResponseWriter.WriteHeader(status)
}

// The answer to the handshake was lost, and frames came in its place.
func TestConnectionWhoseHandshakeIsAnsweredTooLateIsClosed(t *testing.T) {
	cfg := config()
	cfg.WriteTimeout = 50 * time.Millisecond
	srv := serve(t, cfg, app{})
	late := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		srv.Serve(lateWriter{w, 2 * cfg.WriteTimeout}, r, engineio.Exchange{})
	}))
	t.Cleanup(late.Close)
	conn, err := net.Dial("tcp", late.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, "GET /?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); len(got) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %q, %v", got, err)
	}
}
