//go:build linux

package stress

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// freeze has all writes to the disk wait, as those to a disk that hangs, until
// it is thawed.
func (d *disk) freeze() (thaw func()) {
	d.t.Helper()
	if out, err := exec.Command("fsfreeze", "--freeze", d.at).CombinedOutput(); err != nil {
		d.t.Fatalf("fsfreeze: %v %s", err, out)
	}
	frozen := true
	thaw = func() {
		if !frozen {
			return
		}
		frozen = false
		if out, err := exec.Command("fsfreeze", "--unfreeze", d.at).CombinedOutput(); err != nil {
			d.t.Errorf("fsfreeze: %v %s", err, out)
		}
	}
	d.t.Cleanup(thaw)
	return thaw
}

// sendForm sends a form to the portal of the site.
func (g *gateway) sendForm(path string, form url.Values) (int, string, error) {
	ctx, cancel := context.WithTimeout(g.t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.Addr+"/realtime/"+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	r.SetBasicAuth("alice", "secret")
	answer, err := g.http.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// Caddy waits for open requests at its end, and a change to a disk that hangs
// would be one for ever.
func TestDiskThatHangsHoldsNeitherChangesNorAnExit(t *testing.T) {
	t.Parallel()
	withPortal := func(t *testing.T) *gateway {
		t.Helper()
		return prepare(t, func(g *gateway) string {
			hash, err := g.command("hash-password", "--plaintext", "secret").Output()
			if err != nil {
				t.Fatal(err)
			}
			return strings.Replace(g.caddyfile("drain 1s"), "\trealtime\n}",
				"\tbasic_auth /realtime* {\n\t\talice "+strings.TrimSpace(string(hash))+"\n\t}\n\trealtime_portal\n\trealtime\n}", 1)
		})
	}
	onEachDisk(t, withPortal, func(t *testing.T, g *gateway, d *disk) {
		t.Helper()
		g.boot()
		a := g.newApp()
		crowd := g.join(a, "c", client.OverWebSocket, client.OverPolling)
		thaw := d.freeze()
		form := url.Values{"do": {"add-key"}, "kind": {"publish"}, "label": {"late"}}
		status, text, err := g.sendForm("app/"+a.ID, form)
		if err != nil || status != http.StatusServiceUnavailable || !strings.Contains(text, "the disk of the keystore hangs") {
			t.Errorf("a form: %d %s %v", status, text, err)
		}
		if status, text := g.admin(http.MethodPatch, "apps/"+a.ID, `{"name":"late"}`); status != http.StatusServiceUnavailable || !strings.Contains(text, g.store()) {
			t.Errorf("a change: %d %s", status, text)
		}
		if n, err := g.publish(a, "c", "1"); n != 2 || err != nil {
			t.Errorf("published to %d, %v", n, err)
		}
		g.check(crowd, 1, 1)
		crowd.close(t)

		open := make(chan string, 1)
		go func() {
			_, text, err := g.sendForm("app/"+a.ID, form)
			if err != nil {
				text = err.Error()
			}
			open <- text
		}()
		g.await("a request that waits", 20*time.Second, func() bool {
			stacks, err := g.get("/debug/pprof/goroutine?debug=1")
			return err == nil && strings.Contains(stacks, "portal.(*visit).changeApp")
		})
		g.expectEnd()
		begin := time.Now()
		_ = g.cmd.Process.Signal(syscall.SIGTERM)
		// The kernel lets no process go that writes to a frozen disk, so its own
		// last words are what counts.
		for !strings.Contains(g.readLog(0), "shutdown complete") {
			if time.Since(begin) > time.Minute { // 1 + 15 s, were the machine not busy
				t.Errorf("it has not shut down:\n%s", g.tail())
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Logf("it shut down in %s", time.Since(begin))
		if text := <-open; !strings.Contains(text, "the disk of the keystore hangs") {
			t.Errorf("the request that was open: %s", text)
		}
		thaw()
		<-g.ended
		g.boot()
		if g.apps()[a.ID] == nil {
			t.Error("the app is gone")
		}
	})
}
