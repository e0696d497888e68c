package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

func dial(t *testing.T, up, down Fault) (*Relay, net.Conn) {
	t.Helper()
	r, err := Start(echo(t), up, down)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	conn, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return r, conn
}

func TestBytesPassInPiecesAndLate(t *testing.T) {
	r, conn := dial(t, Fault{Delay: 50 * time.Millisecond, Piece: 1}, Fault{Delay: 50 * time.Millisecond, Piece: 3, Pause: time.Millisecond})
	begin := time.Now()
	if _, err := io.WriteString(conn, "over the hills"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if string(got) != "over the hills" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Errorf("it took %s, less than both delays", took)
	}
	if up, down := r.Passed(); up != 14 || down != 14 {
		t.Errorf("%d and %d bytes have passed", up, down)
	}
}

func TestConnectionsAreResetAtTheByte(t *testing.T) {
	for _, tc := range []struct {
		name     string
		up, down Fault
		want     int
	}{
		{"up", Fault{Cut: 5}, Fault{}, -1}, // the echo may be lost in the reset
		{"down", Fault{}, Fault{Cut: 5}, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, conn := dial(t, tc.up, tc.down)
			if _, err := io.WriteString(conn, "over the hills"); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if !errors.Is(err, syscall.ECONNRESET) || tc.want >= 0 && len(got) != tc.want || len(got) > 5 {
				t.Errorf("got %q, %v", got, err)
			}
			late, err := net.Dial("tcp", r.Addr())
			if err == nil { // it may be reset as soon as that
				defer late.Close()
				_, err = late.Read(make([]byte, 1))
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("a later connection: %v", err)
			}
		})
	}
}

func TestSilentConnectionsStayOpenAndGoOn(t *testing.T) {
	r, old := dial(t, Fault{}, Fault{})
	say := func(conn net.Conn, limit time.Duration) error {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		_, err := conn.Read(make([]byte, 1))
		return err
	}
	if err := say(old, time.Second); err != nil {
		t.Fatal(err)
	}
	resume := r.Vanish()
	if err := say(old, 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the silent connection: %v", err)
	}
	fresh, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if err := say(fresh, 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection that comes later: %v", err)
	}
	resume()
	if err := say(fresh, time.Second); err != nil {
		t.Errorf("the later connection afterwards: %v", err)
	}
	if err := say(old, time.Second); err != nil {
		t.Errorf("the silent connection afterwards: %v", err)
	}
}
