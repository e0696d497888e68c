package command

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestCommandsDoNotWaitForeverForTheAdminEndpoint(t *testing.T) {
	drip := func(conn net.Conn, begin, each string) {
		for _, err := io.WriteString(conn, begin); err == nil; _, err = io.WriteString(conn, each) {
			time.Sleep(time.Millisecond) // far below the timeout, so that lack of progress does not trigger it
		}
	}
	for name, answer := range map[string]func(net.Conn){
		"nothing at all":            func(net.Conn) {},
		"a head that does not end":  func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\nX: ", "x") },
		"half a body":               func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{") },
		"a body that does not end":  func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\n\r\n{", " ") },
		"an error that stops short": func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n{") },
		"chunks that do not end":    func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // nothing to cancel
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			over := make(chan struct{})
			defer close(over)
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					<-over
					_ = conn.Close()
				}()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					answer(conn)
				}
			}()
			c := &adminClient{addr: listener.Addr().String(), timeout: 100 * time.Millisecond}
			_, err = c.ask(http.MethodGet, "/realtime/apps", nil)
			if err == nil || !strings.Contains(err.Error(), "within 100ms") || !strings.Contains(err.Error(), "--address") {
				t.Errorf("got %v", err)
			}
		})
	}
}
