package stress

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// openPolling opens a session on polling, and returns its id.
func (g *gateway) openPolling() (string, error) {
	answer, err := g.http.Get("http://" + g.Addr + pollingPath)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(body), `"sid":"`)
	sid, _, ok := strings.Cut(rest, `"`)
	if !ok {
		return "", fmt.Errorf("%s: %s", answer.Status, body)
	}
	return sid, nil
}

// forsake connects a session on polling, has it send more, and never polls.
func (g *gateway) forsake(a app, packets ...string) (sid string, err error) {
	if sid, err = g.openPolling(); err != nil {
		return "", err
	}
	auth := fmt.Sprintf(`40{"appId":%q,"subscribeKey":%q}`, a.ID, a.SubscribeKey)
	body := strings.Join(append([]string{auth}, packets...), "\x1e")
	answer, err := g.http.Post("http://"+g.Addr+pollingPath+"&sid="+sid, "text/plain", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("POST: %s", answer.Status)
	}
	return sid, nil
}

func TestForsakenPollingSessionsHoldTheirQueuesAndEndWithTheHeartbeat(t *testing.T) {
	t.Parallel()
	const sessions, size, maxQueue = 150, 32 << 10, 128 << 10
	const heartbeat = 20 * time.Second // a busy machine takes its time to open and to fill them
	g := start(t, fmt.Sprintf("history 0\n		max_body 64KiB\n		max_queue 128KiB\n		ping_interval %s\n		ping_timeout %s\n		message_rate 0", heartbeat, heartbeat))
	a := g.newApp()
	if _, err := g.publish(a, "warm", `"up"`); err != nil {
		t.Fatal(err)
	}
	before := g.usage()
	opened := time.Now()
	// A channel each: else they would share the bytes that wait for them.
	each(t, sessions, 8, func(i int) error {
		_, err := g.forsake(a, fmt.Sprintf(`42["subscribe","c%d"]`, i))
		return err
	})
	data := `"` + strings.Repeat("x", size) + `"`
	publish := func(times, to int) {
		each(t, to*times, 4, func(i int) error {
			_, err := g.publish(a, fmt.Sprint("c", i%to), data)
			return err
		})
	}
	publish(3, sessions)
	held := g.usage().heap - before.heap
	t.Logf("%d sessions hold %d KiB each", sessions, held/sessions>>10)
	if held < sessions*3*size || held > sessions*(maxQueue+32<<10) {
		t.Errorf("%d sessions hold %d bytes each", sessions, held/sessions)
	}
	const cut = sessions / 2
	publish(2, cut) // beyond their bound
	if n := g.metric(`cut_off_total{reason="queue_full"}`); n != cut {
		t.Errorf("%v are cut off, not %d", n, cut)
	}
	g.await("the others are gone with the heartbeat", 4*heartbeat, func() bool { return g.metric("connections") == 0 })
	if took := time.Since(opened); took > 3*heartbeat {
		t.Errorf("it took %s", took)
	}
	if n := g.metric(`cut_off_total{reason="ping_timeout"}`); n != sessions-cut {
		t.Errorf("%v have missed the heartbeat, not %d", n, sessions-cut)
	}
	g.settled(before)
}

func TestPOSTsThatStallHoldWhatHasComeOfThem(t *testing.T) {
	t.Parallel()
	const posts, maxPacket = 150, 64 << 10
	g := start(t, "body_timeout 15s")
	a := g.newApp()
	before := g.usage()
	post := func(size int) {
		each(t, posts, 16, func(int) error {
			sid, err := g.forsake(a) // who is not connected may send less
			if err != nil {
				return err
			}
			conn, err := net.Dial("tcp", g.Addr)
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = conn.Close() })
			_, err = fmt.Fprintf(conn, "POST %s&sid=%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n4%s",
				pollingPath, sid, g.Addr, maxPacket, strings.Repeat("x", size-1))
			return err
		})
	}
	held := func() int { return (g.usage().heap - before.heap) / posts }

	post(1)
	if n := held(); n > 40<<10 {
		t.Errorf("a length that is only claimed takes %d KiB", n>>10)
	}
	post(maxPacket - 1)
	g.await("the bytes have come", 10*time.Second, func() bool { return held() >= maxPacket })
	n := held()
	t.Logf("a POST that lacks a byte, and one that lacks nearly all: %d KiB", n>>10)
	if n > 3*maxPacket {
		t.Errorf("they take %d KiB", n>>10)
	}
	g.await("all have ended", 40*time.Second, func() bool { return g.metric("connections") == 0 })
	g.settled(before)
}
