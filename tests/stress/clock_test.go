//go:build clock && linux

package stress

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// The wall clock is set ahead and back while everything runs: what expires goes
// by it, and nothing else does. To a process, a machine that slept is one whose
// clock was set ahead: monotonic time stands still meanwhile. `make clock` builds
// the binary for this and runs it.
func TestClockThatIsSetMovesExpiryAndNothingElse(t *testing.T) {
	g := prepareForwarding(t, "ping_interval 1s\n		ping_timeout 1s")
	shift := filepath.Join(g.dir, "shift")
	set := func(ahead time.Duration) {
		t.Helper()
		setClock(t, shift, ahead)
	}
	set(0)
	g.prepareCmd = func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "CLOCK_SHIFT="+shift) }
	g.boot()
	a := g.newApp()
	if status, text := g.admin(http.MethodPatch, "apps/"+a.ID, `{"rate_limit":{"publishes":3,"window":"1h"}}`); status != http.StatusOK {
		t.Fatal(text)
	}
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	var key issued
	p := &provisioner{g: g, client: g.http, answered: &newCrew(g, 0).answered}
	body := map[string]string{"kind": "subscribe", "expires": expires}
	if err := p.call(http.MethodPost, "keys/"+a.ID, body, http.StatusCreated, &key); err != nil {
		t.Fatal(err)
	}
	old := a
	old.SubscribeKey = key.Key
	staying := g.join(a, "c", append(repeat(client.OverWebSocket, 20), repeat(client.OverPolling, 5)...)...)
	leaving := func() *audience {
		return g.join(old, "d", client.OverWebSocket, client.OverPolling)
	}
	gone := func(crowd *audience, what string) {
		t.Helper()
		begin := time.Now()
		g.await(what, 5*time.Second, func() bool { return crowd.clients[0].Err() != nil && crowd.clients[1].Err() != nil })
		t.Logf("%s: after %s", what, time.Since(begin))
	}
	good := func(what string) {
		t.Helper()
		g.await(what, 5*time.Second, func() bool {
			code, err := g.connectCode(a.ID, key.Key)
			return code == "" && err == nil
		})
	}
	limited := func(when string) {
		t.Helper()
		if _, err := g.publish(a, "c", "1"); err == nil || !strings.Contains(err.Error(), "429") {
			t.Errorf("%s, a publish over the limit gets %v", when, err)
		}
	}
	for n := range 3 {
		if _, err := g.publish(a, "c", fmt.Sprint(n+1)); err != nil {
			t.Fatal(err)
		}
	}
	limited("before")

	first := leaving()
	set(2 * time.Hour)
	gone(first, "the clock is set ahead of the expiry")
	limited("two hours ahead")
	if code, err := g.connectCode(a.ID, key.Key); code != "key_expired" || err != nil {
		t.Errorf("ahead, the key gets %q %v", code, err)
	}
	set(0)
	good("the clock is right again, and so is the key")
	second := leaving()
	set(2 * time.Hour)
	gone(second, "it expires again")
	set(-48 * time.Hour)
	good("the clock is two days behind")
	third := leaving()
	limited("two days behind")
	b := g.newApp()
	if _, err := g.publish(b, "c", "1"); err != nil {
		t.Error(err)
	}
	time.Sleep(3 * time.Second) // more than a heartbeat
	for _, crowd := range []*audience{staying, third} {
		for _, c := range crowd.clients {
			if err := c.Err(); err != nil {
				t.Errorf("a client is gone: %v", err)
			}
		}
	}
	g.check(staying, 1, 3)
	third.close(t)
	staying.close(t)
	g.kill()
	g.boot()
	if n := len(g.apps()); n != 2 {
		t.Errorf("%d apps of 2, started with the clock behind", n)
	}
}
