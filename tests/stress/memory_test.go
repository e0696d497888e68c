package stress

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peak is the most memory that the process ever had, in bytes.
func (g *gateway) peak() int {
	g.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		g.t.Fatal(err)
	}
	match := highWater.FindSubmatch(status)
	if match == nil {
		g.t.Fatalf("no peak in %s", status)
	}
	kib, err := strconv.Atoi(string(match[1]))
	if err != nil {
		g.t.Fatal(err)
	}
	return kib << 10
}

// flood writes the bytes again and again, until nobody takes them any more.
func flood(conn net.Conn, bytes []byte) {
	_ = conn.SetWriteDeadline(time.Now().Add(8 * time.Second)) // or the write fails
	for {
		if _, err := conn.Write(bytes); err != nil {
			return
		}
	}
}

// Without credentials nobody makes the gateway hold much: what 5,000 may at a
// time is in FAULTS.md, for each of the ways that are tried here.
func TestStrangersTakeLittleMemory(t *testing.T) {
	t.Parallel()
	frame := func(f ws.Frame) []byte { return ws.MustCompileFrame(ws.MaskFrameInPlace(f)) }
	pings := []byte(strings.Repeat(string(frame(ws.NewPingFrame([]byte(strings.Repeat("x", 125))))), 500))
	spaces := []byte(strings.Repeat(string(client.TextFrame("40/"+strings.Repeat("n", 500)+",")), 100))
	large := client.TextFrame(strings.Repeat("4", 64<<10))
	for _, tc := range []struct {
		name      string
		strangers int
		limit     int // of each, in bytes
		timeout   string
		do        func(conn net.Conn)
	}{
		{"silent", sized(600, 1000), 60 << 10, "2s", func(net.Conn) {}},
		{"messages that do not end", sized(600, 1000), 100 << 10, "2s", func(conn net.Conn) { _, _ = conn.Write(large[:len(large)-1]) }},
		{"pings whose answers are not read", sized(250, 400), 130 << 10, "10s", func(conn net.Conn) { flood(conn, pings) }},
		{"refusals that are not read", sized(250, 400), 130 << 10, "10s", func(conn net.Conn) { flood(conn, spaces) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := start(t, "connect_timeout "+tc.timeout)
			request := []byte(client.HandshakeRequest(g.Addr, "/socket.io/?EIO=4&transport=websocket"))
			before := g.peak()
			conns := make([]net.Conn, tc.strangers)
			each(t, tc.strangers, tc.strangers, func(i int) (err error) {
				if conns[i], err = narrow(g.t.Context(), "tcp", g.Addr); err == nil {
					_, err = conns[i].Write(request)
				}
				if err == nil {
					tc.do(conns[i])
				}
				return err
			})
			g.await("they are gone", 30*time.Second, func() bool { return g.metric("connecting") == 0 })
			took := (g.peak() - before) / tc.strangers
			t.Logf("%d of them took %d KiB each", tc.strangers, took>>10)
			if took > tc.limit && !g.raceBuild() {
				t.Errorf("that is more than %d KiB", tc.limit>>10)
			}
			for _, conn := range conns {
				_ = conn.Close()
			}
		})
	}
}

// One unauthenticated client does everything at once that takes memory: a
// session on polling whose handshake has a long Host and Origin, a queue of
// refused namespaces that it does not fetch, a POST that stalls one byte short,
// and an upgrade that it never probes.
func TestAStrangerThatDoesEverythingAtOnceTakesABoundOfMemory(t *testing.T) {
	t.Parallel()
	const strangers, limit = 400, 190 << 10 // the bound of each, in bytes; FAULTS.md has what was measured
	g := startWith(t, func(g *gateway) string {
		_, port, _ := net.SplitHostPort(g.Addr)
		return strings.Replace(g.caddyfile("connect_timeout 15s"), "http://"+g.Addr, "http://:"+port, 1) // any Host
	})
	const path = "/socket.io/?EIO=4&transport="
	long := strings.Repeat("h", 7<<10)
	open := fmt.Sprintf("GET %spolling HTTP/1.1\r\nHost: %s\r\nOrigin: https://%s\r\n\r\n", path, long, long)
	namespaces := strings.TrimSuffix(strings.Repeat("40/"+strings.Repeat("a", 290)+",\x1e", 22), "\x1e") // whose answers are just not too many
	stalled := strings.Repeat("4", 16<<10-1)
	before := g.peak()
	conns := make([][3]net.Conn, strangers)
	each(t, strangers, 50, func(i int) (err error) {
		for j := range conns[i] {
			if conns[i][j], err = net.Dial("tcp", g.Addr); err != nil {
				return err
			}
		}
		answers := bufio.NewReader(conns[i][0])
		ask := func(request string) (body []byte, err error) {
			if _, err := conns[i][0].Write([]byte(request)); err != nil {
				return nil, err
			}
			answer, err := http.ReadResponse(answers, nil)
			if err != nil {
				return nil, err
			}
			defer answer.Body.Close()
			body, err = io.ReadAll(answer.Body)
			if err == nil && answer.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: %s", answer.Status, body)
			}
			return body, err
		}
		opened, err := ask(open)
		if err != nil {
			return err
		}
		var handshake struct{ SID string }
		if err := json.Unmarshal(opened[1:], &handshake); err != nil {
			return err
		}
		post := "POST " + path + "polling&sid=" + handshake.SID + " HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s"
		if _, err := ask(fmt.Sprintf(post, len(namespaces), namespaces)); err != nil {
			return err
		}
		if _, err := conns[i][1].Write(fmt.Appendf(nil, post, len(stalled)+1, stalled)); err != nil {
			return err
		}
		_, err = conns[i][2].Write([]byte(client.HandshakeRequest("h", path+"websocket&sid="+handshake.SID)))
		return err
	})
	if n := int(g.metric("connecting")); n != strangers {
		t.Errorf("%d of %d connect at the end; this test is of nothing", n, strangers)
	}
	g.await("they are gone", 60*time.Second, func() bool { return g.metric("connecting") == 0 })
	took := (g.peak() - before) / strangers
	t.Logf("%d of them took %d KiB each", strangers, took>>10)
	if took > limit && !g.raceBuild() {
		t.Errorf("that is more than %d KiB", limit>>10)
	}
	for _, three := range conns {
		for _, conn := range three {
			_ = conn.Close()
		}
	}
}

// Who has said who it is may send what others could not.
func TestLargeMessagesAreForThoseWhoAreConnected(t *testing.T) {
	t.Parallel()
	g := start(t, "")
	a := g.newApp()
	auth := fmt.Sprintf(`40{"appId":%q,"subscribeKey":%q,"more":%q}`, a.ID, a.SubscribeKey, strings.Repeat("x", 15<<10))
	large := `421["e",` + strconv.Quote(strings.Repeat("x", 60<<10)) + `]`
	for _, tc := range []struct {
		name, last string
		send       []string
	}{
		{"before it is connected", "1009", []string{strings.Replace(auth, `more":"`, `more":"`+strings.Repeat("x", 2<<10), 1)}},
		{"once it is", `431[{"error":{"code":"not_allowed"`, []string{auth, large}},
	} {
		socket, err := client.DialWebSocket(g.Addr, "/socket.io/?EIO=4&transport=websocket", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		if err := socket.Write(tc.send...); err != nil {
			t.Fatal(err)
		}
		var got string
		for range len(tc.send) + 1 { // the handshake, and an answer to each
			packet, err := socket.Read()
			if got = packet; err != nil {
				got = err.Error()
				break
			}
		}
		if !strings.Contains(got, tc.last) {
			t.Errorf("%s: got %q, want %s", tc.name, got, tc.last)
		}
	}
}

// ignoreReset is for reading from a connection that may be given up.
func ignoreReset(err error) error {
	if errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

// One publish key does not fill the machine with publishes that do not end.
func TestPublishesThatDoNotEndTakeABoundOfMemory(t *testing.T) {
	t.Parallel()
	const publishes, size, limit = 300, 1 << 20, 256 << 20 // the bound is 64 MiB, and memory is collected at twice what is used
	g := start(t, "")
	a := g.newApp()
	before := g.peak()
	head := fmt.Sprintf("POST /publish HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nX-App-Id: %s\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n",
		g.Addr, a.ID, a.PublishKey, size)
	body := []byte(`{"channel":"c","event":"e","data":"` + strings.Repeat("x", size-100))
	each(t, publishes, publishes, func(int) error {
		conn, err := net.Dial("tcp", g.Addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := conn.Write([]byte(head)); err != nil {
			return err
		}
		_, _ = conn.Write(body) // of those that are refused nobody need read it
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		_, err = io.Copy(io.Discard, conn) // at once, or when the time for a body is over
		return ignoreReset(err)
	})
	took := g.peak() - before
	t.Logf("%d took %d MiB", publishes, took>>20)
	if took > limit && !g.raceBuild() {
		t.Errorf("that is more than %d MiB", limit>>20)
	}
	if n, err := g.publish(a, "c", "1"); n != 0 || err != nil {
		t.Errorf("a publish beside them reaches %d, %v", n, err)
	}
	b := g.newApp()
	if _, err := g.publish(b, "c", strconv.Quote(strings.Repeat("x", size-100))); err != nil {
		t.Error("a large one of another app:", err)
	}
}
