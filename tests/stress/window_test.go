package stress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// narrow connects with the smallest receive buffer that the kernel gives.
func narrow(ctx context.Context, _, addr string) (net.Conn, error) {
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1)
		})
		return errors.Join(err, failed)
	}}
	return dialer.DialContext(ctx, "tcp", addr)
}

// oneByte reads one byte at a time, each when the tick comes, if there is one.
type oneByte struct {
	src  io.Reader
	tick <-chan time.Time
}

func (o oneByte) Read(p []byte) (int, error) {
	if o.tick != nil {
		<-o.tick
	}
	return o.src.Read(p[:1])
}

// joinNarrow subscribes on a websocket with the smallest window.
func (g *gateway) joinNarrow(a app, channel string) (net.Conn, error) {
	conn, err := narrow(g.t.Context(), "tcp", g.Addr)
	if err != nil {
		return nil, err
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	auth := fmt.Sprintf(`40{"appId":%q,"subscribeKey":%q}`, a.ID, a.SubscribeKey)
	request := client.HandshakeRequest(g.Addr, "/socket.io/?EIO=4&transport=websocket")
	request += string(client.TextFrame(auth)) + string(client.TextFrame(`42["subscribe","`+channel+`"]`))
	if _, err := io.WriteString(conn, request); err != nil {
		return nil, err
	}
	var seen [1]byte
	answer := ""
	for !strings.HasSuffix(answer, `42["subscribed",{"channel":"`+channel+`"}]`) {
		if _, err := conn.Read(seen[:]); err != nil {
			return nil, fmt.Errorf("behind %q: %w", answer, err)
		}
		answer += string(seen[:])
	}
	return conn, nil
}

// readAll reads frames until the last event.
func readAll(src io.Reader, last int) error {
	var got account
	for {
		h, err := ws.ReadHeader(src)
		if err != nil {
			return err
		}
		packet := make([]byte, h.Length)
		if _, err := io.ReadFull(src, packet); err != nil {
			return err
		}
		got.take(strings.TrimPrefix(string(packet), "4"))
		switch _, n, bad := got.state(); {
		case bad != "":
			return errors.New(bad)
		case n == last:
			return nil
		}
	}
}

func TestReaderOfSingleBytesInATinyWindowGetsEverything(t *testing.T) {
	t.Parallel()
	const events = 40
	g := start(t, "ping_interval 5m") // the reader answers none
	a := g.newApp()
	crowd := g.join(a, "c", mixed(3)...)
	conn, err := g.joinNarrow(a, "c")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- readAll(bufio.NewReaderSize(oneByte{src: conn}, 16), events) }()
	padding := strings.Repeat("x", 16<<10)
	for i := range events {
		if n, err := g.publish(a, "c", fmt.Sprintf("[%d,%q]", i+1, padding)); n != len(crowd.clients)+1 || err != nil {
			t.Fatalf("published to %d, %v", n, err)
		}
	}
	g.check(crowd, 1, events)
	if err := <-done; err != nil {
		t.Error(err)
	}
	crowd.close(t)
}

// Who takes a byte now and then never lets a write end.
func TestReaderOfAByteNowAndThenIsCutOffAndCostsTheOthersNothing(t *testing.T) {
	t.Parallel()
	const timeout, events = 4 * time.Second, 24
	g := start(t, fmt.Sprintf("history 0\n\t\twrite_timeout %s\n\t\tmax_queue 16MiB", timeout))
	a := g.newApp()
	crowd := g.join(a, "c", mixed(3)...)
	before := g.usage()

	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	socket, err := g.joinNarrow(a, "big")
	if err != nil {
		t.Fatal(err)
	}
	poll, err := joinByHand(g.http, "http://"+g.Addr, a, "big")
	if err != nil {
		t.Fatal(err)
	}
	padding := strings.Repeat("x", 256<<10) // in all more than the kernel holds
	for i := range events {
		// On a busy machine one may be cut off before all is published.
		if n, err := g.publish(a, "big", fmt.Sprintf("[%d,%q]", i+1, padding)); n > 2 || i == 0 && n != 2 || err != nil {
			t.Fatalf("published to %d, %v", n, err)
		}
	}
	begin := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 2)
	go func() {
		_, err := io.Copy(io.Discard, oneByte{socket, tick.C})
		ended <- err
	}()
	go func() {
		slow := &http.Client{Transport: &http.Transport{DialContext: narrow, ReadBufferSize: 16}}
		defer slow.CloseIdleConnections()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, poll, nil)
		if err != nil {
			ended <- err
			return
		}
		answer, err := slow.Do(request)
		if err == nil {
			defer answer.Body.Close()
			_, err = io.Copy(io.Discard, oneByte{answer.Body, tick.C})
		}
		ended <- err
	}()
	published := 0
	g.await("both are cut off", 6*timeout, func() bool {
		published++
		if n, err := g.publish(a, "c", strconv.Itoa(published)); n != len(crowd.clients) || err != nil {
			t.Fatalf("published to %d, %v", n, err)
		}
		return g.connections(a) == len(crowd.clients)
	})
	t.Logf("cut off after %s", time.Since(begin))
	if n := g.metric(`cut_off_total{reason="write_timeout"}`); n != 2 {
		t.Errorf("the counter says %v, want 2", n)
	}
	g.check(crowd, 1, published)
	if n := g.heldFor(socket.LocalAddr()); n != 0 {
		t.Errorf("the kernel still holds %d bytes for the websocket", n)
	}
	cancel() // what the kernel still holds of an answer would take hours
	_ = socket.Close()
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("one read to an end")
		}
	}
	g.settled(before)
	crowd.close(t)
}

// heldFor is how many bytes the kernel has for a client, also once the process
// has closed the connection.
func (g *gateway) heldFor(peer net.Addr) int {
	g.t.Helper()
	want := fmt.Sprintf(":%04X", peer.(*net.TCPAddr).Port)
	for _, name := range []string{"tcp6", "tcp"} {
		table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", g.cmd.Process.Pid, name))
		if err != nil {
			g.t.Fatal(err)
		}
		for line := range strings.SplitSeq(string(table), "\n") {
			fields := strings.Fields(line)
			if len(fields) < 5 || !strings.HasSuffix(fields[2], want) { // the remote address
				continue
			}
			queued, _, _ := strings.Cut(fields[4], ":")
			n, err := strconv.ParseInt(queued, 16, 64)
			if err != nil {
				g.t.Fatal(err)
			}
			return int(n)
		}
	}
	return 0
}

// joinByHand subscribes over polling, and returns the URL of its next poll.
func joinByHand(over *http.Client, origin string, a app, channel string) (string, error) {
	url := origin + "/socket.io/?EIO=4&transport=polling"
	exchange := func(payload, want string) (string, error) {
		if payload != "" {
			answer, err := over.Post(url, "text/plain", strings.NewReader(payload))
			if err != nil {
				return "", err
			}
			_ = answer.Body.Close()
		}
		answer, err := over.Get(url)
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err == nil && !strings.HasPrefix(string(body), want) {
			err = fmt.Errorf("got %s %q", answer.Status, body)
		}
		return string(body), err
	}
	open, err := exchange("", "0{")
	if err != nil {
		return "", err
	}
	_, sid, _ := strings.Cut(open, `"sid":"`)
	sid, _, _ = strings.Cut(sid, `"`)
	url += "&sid=" + sid
	if _, err := exchange(fmt.Sprintf(`40{"appId":%q,"subscribeKey":%q}`, a.ID, a.SubscribeKey), "40"); err != nil {
		return "", err
	}
	_, err = exchange(`42["subscribe","`+channel+`"]`, `42["subscribed"`)
	return url, err
}
