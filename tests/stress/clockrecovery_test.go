//go:build clock && linux

package stress

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// A returner is a client that asks for recovery and comes back, as the stock
// client does.
type returner struct {
	g             *gateway
	a             app
	socket        *client.WebSocket
	sid, pid, got string // got: the ID of the last event
}

// connect connects, and reports whether the client has recovered.
func (r *returner) connect() bool {
	r.g.t.Helper()
	auth := map[string]any{"appId": r.a.ID, "subscribeKey": r.a.SubscribeKey, "recover": true}
	if r.pid != "" {
		auth["pid"] = r.pid
	}
	if r.got != "" {
		auth["offset"] = r.got
	}
	body, err := json.Marshal(auth)
	if err != nil {
		r.g.t.Fatal(err)
	}
	r.socket, err = client.DialRequest(r.g.Addr, client.HandshakeRequest(r.g.Addr, "/socket.io/?EIO=4&transport=websocket"), client.TextFrame("40"+string(body)))
	if err != nil {
		r.g.t.Fatal(err)
	}
	var answer struct{ SID, PID string }
	if err := json.Unmarshal([]byte(r.next("40")), &answer); err != nil {
		r.g.t.Fatal(err)
	}
	recovered := answer.PID == r.pid && answer.SID == r.sid
	r.sid, r.pid = answer.SID, answer.PID
	return recovered
}

// next returns the next packet that begins so.
func (r *returner) next(begin string) string {
	r.g.t.Helper()
	for {
		packet, err := r.socket.Read()
		if err != nil {
			r.g.t.Fatalf("waiting for %s: %v", begin, err)
		}
		if rest, ok := strings.CutPrefix(packet, begin); ok {
			return rest
		}
	}
}

// receive waits for the next event of the channel, whose data must be that.
func (r *returner) receive(want int) {
	r.g.t.Helper()
	var event []json.RawMessage
	if err := json.Unmarshal([]byte(`["e",`+r.next(`42["e",`)), &event); err != nil || len(event) != 3 {
		r.g.t.Fatalf("%s: %v", event, err)
	}
	if string(event[1]) != fmt.Sprint(want) {
		r.g.t.Fatalf("event %s arrives, not %d", event[1], want)
	}
	if err := json.Unmarshal(event[2], &r.got); err != nil {
		r.g.t.Fatal(err)
	}
}

// However the wall clock is set while a client is away, it misses nothing. Only
// between two processes does the time that passed go by the clock.
func TestClockThatIsSetCostsNoRecovery(t *testing.T) {
	g := prepareForwarding(t, "")
	shift := filepath.Join(g.dir, "shift")
	setClock(t, shift, 0)
	g.prepareCmd = func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "CLOCK_SHIFT="+shift) }
	g.boot()
	r := &returner{g: g, a: g.newApp()}
	r.connect()
	if err := r.socket.Write(`42["subscribe","c"]`); err != nil {
		t.Fatal(err)
	}
	r.next(`42["subscribed",`)
	published := 0
	publish := func() {
		t.Helper()
		published++
		if _, err := g.publish(r.a, "c", fmt.Sprint(published)); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	r.receive(1)
	for _, tc := range []struct {
		ahead     time.Duration // when the client comes back
		restart   bool
		recovered bool
	}{
		{ahead: 2 * time.Hour, recovered: true},
		{ahead: 0, recovered: true},
		{ahead: -48 * time.Hour, recovered: true},
		{ahead: -48 * time.Hour, restart: true, recovered: true},
		{ahead: -72 * time.Hour, restart: true, recovered: true},
		{ahead: 0, restart: true, recovered: false}, // three days have passed, by the clock
	} {
		if err := r.socket.Reset(); err != nil {
			t.Fatal(err)
		}
		publish()
		if tc.restart {
			g.expectEnd()
			g.terminate()
		}
		setClock(t, shift, tc.ahead)
		if tc.restart {
			g.boot()
		}
		if recovered := r.connect(); recovered != tc.recovered {
			t.Fatalf("%+v: recovered is %t", tc, recovered)
		}
		if tc.recovered {
			r.receive(published)
			publish()
			r.receive(published)
		}
	}
}

// setClock sets the clock of processes with that CLOCK_SHIFT.
func setClock(t *testing.T, shift string, ahead time.Duration) {
	t.Helper()
	if err := os.WriteFile(shift+".new", []byte(fmt.Sprint(int(ahead.Seconds()))), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(shift+".new", shift); err != nil {
		t.Fatal(err)
	}
}
