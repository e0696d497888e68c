package engineio_test

import (
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// open opens a session that the test does not track, reads OPEN, and returns
// the connection.
func (s *server) open() net.Conn {
	s.t.Helper()
	conn := s.raw(fmt.Sprintf(handshake, ""))
	answer := make([]byte, 4096)
	got := 0
	for { // the handshake's answer, then OPEN
		n, err := conn.Read(answer[got:])
		got += n
		if err != nil {
			s.t.Fatal(err)
		}
		if answer[got-1] == '}' {
			break
		}
	}
	return conn
}

// raw connects and writes.
func (s *server) raw(request string) net.Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// poll sends one request on its own connection, and returns the answer if that
// is wanted.
func (s *server) poll(sid, method, body string, wait bool) string {
	s.t.Helper()
	conn := s.raw(fmt.Sprintf("%s /?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
		method, sid, len(body), body))
	defer conn.Close()
	if !wait {
		return ""
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(answer)
}

// openRaw opens a session on polling and returns its id.
func (s *server) openRaw() string {
	s.t.Helper()
	answer := s.poll("", "GET", "", true)
	const mark = `"sid":"`
	for i := range answer {
		if len(answer[i:]) > len(mark)+20 && answer[i:i+len(mark)] == mark {
			return answer[i+len(mark) : i+len(mark)+20]
		}
	}
	s.t.Fatalf("no sid: %s", answer)
	return ""
}

// waysToGo lists every way in which a client can connect and leave.
var waysToGo = map[string]func(s *server){
	"before the handshake": func(s *server) { s.raw("").Close() },
	"within the handshake": func(s *server) { s.raw(handshake[:100]).Close() },
	"behind the handshake": func(s *server) { s.raw(fmt.Sprintf(handshake, "")).Close() },
	"reset by the client":  func(s *server) { c := s.raw(fmt.Sprintf(handshake, "")); _ = c.(*net.TCPConn).SetLinger(0); c.Close() },
	"dropped when open":    func(s *server) { c := s.open(); c.Close() },
	"reset when open":      func(s *server) { c := s.open(); _ = c.(*net.TCPConn).SetLinger(0); c.Close() },
	"close packet":         func(s *server) { c := s.open(); c.Write(text("1")); c.Close() },
	"close packet, waited": func(s *server) {
		c := s.open()
		c.Write(joined(text("1"), masked(ws.NewCloseFrame(nil))))
		io.Copy(io.Discard, c)
		c.Close()
	},
	"close frame": func(s *server) {
		c := s.open()
		c.Write(masked(ws.NewCloseFrame(nil)))
		io.Copy(io.Discard, c)
		c.Close()
	},
	"close packet and frame": func(s *server) {
		c := s.open()
		c.Write(joined(text("4a"), text("1"), masked(ws.NewCloseFrame(nil))))
		c.Close()
	},
	"echo and drop":             func(s *server) { c := s.open(); c.Write(text("4hello")); c.Read(make([]byte, 100)); c.Close() },
	"half a frame":              func(s *server) { c := s.open(); c.Write(text("4hello")[:7]); c.Close() },
	"half a message":            func(s *server) { c := s.open(); c.Write(rawFrame(1, 6, "4hello")); c.Close() },
	"a breach of the protocol":  func(s *server) { c := s.open(); c.Write(text("abc")); c.Read(make([]byte, 100)); c.Close() },
	"polling, closed":           func(s *server) { s.poll(s.openRaw(), "POST", "1", true) },
	"polling, left alone":       func(s *server) { s.openRaw() },
	"polling, given up":         func(s *server) { s.poll(s.openRaw(), "GET", "", false) },
	"polling, POST given up":    func(s *server) { s.poll(s.openRaw(), "POST", "4hello", false) },
	"polling, invalid":          func(s *server) { s.poll(s.openRaw(), "POST", "abc", true) },
	"upgrade, dropped":          func(s *server) { s.raw(fmt.Sprintf(handshake, "&sid="+s.openRaw())).Close() },
	"upgrade, dropped at probe": func(s *server) { s.raw(fmt.Sprintf(handshake, "&sid="+s.openRaw()) + string(text("2probe"))).Close() },
	"upgraded, dropped": func(s *server) {
		s.raw(fmt.Sprintf(handshake, "&sid="+s.openRaw()) + string(joined(text("2probe"), text("5")))).Close()
	},
	"upgraded, closed": func(s *server) {
		s.raw(fmt.Sprintf(handshake, "&sid="+s.openRaw()) + string(joined(text("2probe"), text("5"), text("1")))).Close()
	},
}

// The Go library keeps goroutines, descriptors and 20 kB of each connection.
func TestChurnLeavesNothingBehind(t *testing.T) {
	cfg := config()
	// Long enough for a busy machine to serve a client, short enough to wait
	// for.
	cfg.PingInterval, cfg.PingTimeout, cfg.UpgradeTimeout = 500*time.Millisecond, 3*time.Second, 3*time.Second
	cfg.WriteTimeout = 3 * time.Second
	srv := serve(t, cfg, app{})
	churn := func(times int) {
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for range times {
					for _, way := range waysToGo {
						way(srv)
					}
				}
			})
		}
		clients.Wait()
		eventually(t, "all sessions are gone", func() bool { return srv.Len() == 0 && len(srv.Sessions()) == 0 })
	}
	churn(1)
	const times = 5
	clients := int64(times * 8 * len(waysToGo))
	if grown := leftBehind(t, func() { churn(times) }); grown > clients*200 {
		t.Errorf("%d bytes are left of each of %d clients", grown/clients, clients)
	}
	if opened, closed := srv.opened.Load(), srv.closed.Load(); opened != closed {
		t.Errorf("%d sessions, %d calls of Closed", opened, closed)
	}
}

func TestTwoThousandThatConnectAndDrop(t *testing.T) {
	srv := serve(t, config(), app{})
	grown := leftBehind(t, func() {
		var clients sync.WaitGroup
		for range 16 {
			clients.Go(func() {
				for range 2000 / 16 {
					waysToGo["behind the handshake"](srv)
				}
			})
		}
		clients.Wait()
		eventually(t, "all sessions are gone", func() bool { return srv.Len() == 0 && len(srv.Sessions()) == 0 })
	})
	if grown > 2000*600 { // a single session takes more
		t.Errorf("%d bytes are left of each client", grown/2000)
	}
}

// leftBehind runs churn four times, waits until goroutines and files are as before, and
// returns the least by which one run made the heap grow. What leaks does so each time;
// but the runtime never frees the descriptors of goroutines, so that a busy machine, on
// which more of them were alive at once than ever before, has grown once.
func leftBehind(t *testing.T, churn func()) (bytes int64) {
	t.Helper()
	goroutines, files, before := settled(t)
	bytes = math.MaxInt64
	for range 4 {
		churn()
		eventually(t, "goroutines and files are as before", func() bool {
			return runtime.NumGoroutine() <= goroutines && openFiles(t) <= files
		})
		now := heap()
		bytes, before = min(bytes, now-before), now
	}
	return bytes
}

// settled waits until nothing of earlier tests is left, then measures.
func settled(t *testing.T) (goroutines, files int, bytes int64) {
	t.Helper()
	debug.FreeOSMemory()
	goroutines, files = runtime.NumGoroutine(), openFiles(t)
	for quiet := 0; quiet < 20; quiet++ {
		time.Sleep(5 * time.Millisecond)
		if g, f := runtime.NumGoroutine(), openFiles(t); g < goroutines || f < files {
			goroutines, files, quiet = min(g, goroutines), min(f, files), 0
		}
	}
	return goroutines, files, heap()
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
