//go:build linux

package stress

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// refusal starts the process, which is to end by itself with exit code 1, and
// returns what it logged.
func (g *gateway) refusal() string {
	g.t.Helper()
	before := len(g.readLog(0))
	g.launch()
	g.expectEnd()
	select {
	case <-g.ended:
	case <-time.After(30 * time.Second):
		g.t.Fatalf("it does not end\n%s", g.tail())
	}
	log := g.readLog(before)
	if code := g.cmd.ProcessState.ExitCode(); code != 1 {
		g.t.Errorf("exit code %d, want 1\n%s", code, log)
	}
	return log
}

// wantWords fails for those that a text lacks.
func wantWords(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("it lacks %q:\n%s", word, text[max(0, len(text)-4000):])
		}
	}
}

// withStore is a Caddyfile with another keystore.
func withStore(dir func(*gateway) string) func(*gateway) string {
	return func(g *gateway) string { return g.caddyfile("keystore badger " + dir(g)) }
}

func TestStoreThatAnotherProcessHoldsIsRefusedAndTheHolderUnharmed(t *testing.T) {
	t.Parallel()
	holder := start(t, "")
	a := holder.newApp()
	crowd := holder.join(a, "c", client.OverWebSocket)
	g := prepare(t, withStore(func(*gateway) string { return holder.store() }))
	for range 2 {
		wantWords(t, g.refusal(), holder.store(), "in use", "caddy reload", "keystore badger <dir>")
	}
	if out, err := g.command("validate", "--config", g.config(), "--adapter", "caddyfile").CombinedOutput(); err != nil {
		t.Errorf("caddy validate beside it: %v\n%s", err, out)
	}
	b := holder.newApp()
	for i, a := range []app{a, b} {
		if n, err := holder.publish(a, "c", "1"); n != 1-i || err != nil {
			t.Errorf("published to %d, %v", n, err)
		}
	}
	holder.check(crowd, 1, 1)
	crowd.close(t)
	holder.kill()
	g.boot()
	if there := g.apps(); len(there) != 2 {
		t.Errorf("%d apps of 2 are there once the holder is gone", len(there))
	}
}

// Root may write anywhere, but not in /proc; and a path below a file is none.
func TestDirectoryThatCannotBeWrittenIsRefused(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]func(*gateway) string{
		"no permission, whoever asks": func(*gateway) string { return "/proc/realtime" },
		"a path below a file":         func(g *gateway) string { return filepath.Join(g.config(), "realtime") },
	} {
		t.Run(name, func(t *testing.T) {
			g := prepare(t, withStore(dir))
			wantWords(t, g.refusal(), dir(g), "keystore badger <dir>")
		})
	}
	if !canMount(t) {
		return
	}
	t.Run("read-only files of a store", func(t *testing.T) {
		g := start(t, "")
		g.newApp()
		g.expectEnd()
		g.terminate()
		mount := "mount --bind " + g.store() + " " + g.store() + " && mount -o remount,bind,ro " + g.store()
		g.prepareCmd = inNamespace(mount)
		wantWords(t, g.refusal(), g.store(), "cannot be written", "the user who runs Caddy", "keystore badger <dir>")
		g.prepareCmd = nil
		g.boot()
		if there := g.apps(); len(there) != 1 {
			t.Errorf("%d apps of 1 are left", len(there))
		}
	})
}

// inNamespace has a command run behind a script of root's, in mounts of its own.
// Who is not root becomes it in a namespace of his own.
func inNamespace(script string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", script + ` && exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		if os.Getuid() != 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
			}
		}
	}
}

// canMount says whether this machine lets us mount. In a container it may not:
// then TestFullDiskIsAnErrorNotACrash and TestStoreThatCannotMakeAFileComesBack
// are what is left of what needs it.
func canMount(t *testing.T) bool {
	t.Helper()
	cmd := exec.Command("true")
	inNamespace("mount -t tmpfs none " + t.TempDir())(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Logf("nothing can be mounted here: %v %s", err, out)
	}
	return err == nil
}

// admin makes a request of the admin API, and returns its status and body.
func (g *gateway) admin(method, path, body string) (int, string) {
	g.t.Helper()
	request, err := http.NewRequest(method, "http://"+g.Admin+"/realtime/"+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := g.http.Do(request)
	if err != nil {
		g.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// A disk that is full takes no change, and everything else goes on; when there
// is room again, so do changes.
func TestFullDiskRefusesChangesAndNothingElse(t *testing.T) {
	t.Parallel()
	if !canMount(t) {
		return
	}
	g := prepare(t, func(g *gateway) string { return g.caddyfile("") })
	if err := os.MkdirAll(g.store(), 0o700); err != nil {
		t.Fatal(err)
	}
	g.prepareCmd = inNamespace("mount -t tmpfs -o size=60m,mode=700 none " + g.store())
	g.boot()
	// The mount is the process's own.
	filler := fmt.Sprintf("/proc/%d/root%s/filler", g.cmd.Process.Pid, g.store())
	a := g.newApp()
	crowd := g.join(a, "c", client.OverWebSocket, client.OverPolling)

	c := newCrew(g, 3)
	finish := c.startThat(func(err error) bool { return strings.Contains(err.Error(), "503") })
	if err := fill(filler); err != nil {
		t.Fatal(err)
	}
	g.await("changes are refused", 20*time.Second, func() bool {
		status, text := g.admin(http.MethodPost, "apps", `{"name":"one more"}`)
		return status == http.StatusServiceUnavailable && strings.Contains(text, `"unavailable"`) && strings.Contains(text, "is full")
	})
	finish()
	wantWords(t, g.readLog(0), "the disk of the keystore in "+g.store()+" is full", "free some space")
	status, text := g.admin(http.MethodDelete, "apps/"+a.ID, "")
	if status != http.StatusServiceUnavailable {
		t.Errorf("an app is deleted: %d %s", status, text)
	}
	for i := range 10 {
		if n, err := g.publish(a, "c", fmt.Sprint(i+1)); n != 2 || err != nil {
			t.Errorf("published to %d, %v", n, err)
		}
	}
	g.check(crowd, 1, 10)
	if status, text := g.admin(http.MethodGet, "health", ""); status != http.StatusOK {
		t.Errorf("health: %d %s", status, text)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if status, text := g.admin(http.MethodPatch, "apps/"+a.ID, `{"name":"again"}`); status != http.StatusOK {
		t.Errorf("with room again: %d %s", status, text)
	}
	there := g.apps()
	c.all[0].tenants = append(c.all[0].tenants, adopt(there[a.ID]))
	for id, v := range there {
		if v.Name == "one more" {
			c.all[0].tenants = append(c.all[0].tenants, adopt(there[id]))
		}
	}
	c.check(1000)
	crowd.close(t)
	t.Logf("%d changes were answered", c.answered.Load())
}

// fill writes to a file until there is no room.
func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := file.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			chunk = chunk[:len(chunk)/2]
		} else if err != nil {
			return err
		}
	}
	return nil
}

// A store that cannot make its next file refuses changes, and takes them again
// when it can.
func TestStoreThatCannotMakeAFileComesBack(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		resource int
		limit    uint64
		says     string
	}{
		{"out of descriptors", unix.RLIMIT_NOFILE, 3, "too many open files"}, // more are open
		{"files may not be that large", unix.RLIMIT_FSIZE, 2 << 20, "file too large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := start(t, "")
			a := g.newApp()
			crowd := g.join(a, "c", client.OverWebSocket)
			var enough unix.Rlimit
			if err := unix.Prlimit(g.cmd.Process.Pid, tc.resource, nil, &enough); err != nil {
				t.Fatal(err)
			}
			if err := unix.Prlimit(g.cmd.Process.Pid, tc.resource, &unix.Rlimit{Cur: tc.limit, Max: enough.Max}, nil); err != nil {
				t.Fatal(err)
			}
			changed := g.changeUntilRefused(a) // all on one connection: no other would be accepted
			wantWords(t, g.readLog(0), tc.says, "the keystore could not be written", "reopened")
			for range 3 {
				if status, text := g.admin(http.MethodGet, "health", ""); status != http.StatusServiceUnavailable || !strings.Contains(text, "keystore") {
					t.Errorf("health: %d %s", status, text)
				}
				if status, _ := g.admin(http.MethodPatch, "apps/"+a.ID, `{"name":"refused"}`); status != http.StatusServiceUnavailable {
					t.Errorf("a change: %d", status)
				}
			}
			if err := unix.Prlimit(g.cmd.Process.Pid, tc.resource, &enough, nil); err != nil {
				t.Fatal(err)
			}
			if n, err := g.publish(a, "c", "1"); n != 1 || err != nil {
				t.Errorf("published to %d, %v", n, err)
			}
			g.await("the store is reopened", 20*time.Second, func() bool {
				status, _ := g.admin(http.MethodGet, "health", "")
				return status == http.StatusOK
			})
			g.check(crowd, 1, 1)
			crowd.close(t)
			for range 2 { // now, and after kill -9
				if v := g.apps()[a.ID]; v == nil || v.Name != fmt.Sprint("change ", changed) {
					t.Errorf("the app is %+v, want change %d", v, changed)
				}
				changed++
				if status, text := g.admin(http.MethodPatch, "apps/"+a.ID, fmt.Sprintf(`{"name":"change %d"}`, changed)); status != http.StatusOK {
					t.Errorf("%d %s", status, text)
				}
				g.kill()
				g.boot()
			}
		})
	}
}

// changeUntilRefused renames an app to "change 1", "change 2" and so on until
// that is answered with 503, and returns the last that was made. The store has
// one log of 4 MiB at a time, so records are large.
func (g *gateway) changeUntilRefused(a app) int {
	g.t.Helper()
	long := strings.Repeat("."+strings.Repeat("a", 60), 3)
	var origins []string
	for i := range 100 {
		origins = append(origins, fmt.Sprintf("\"https://a%d%s.example\"", i, long))
	}
	body := `{"name":"change %d","allowed_origins":[` + strings.Join(origins, ",") + `]}`
	for n := range 2000 {
		switch status, text := g.admin(http.MethodPatch, "apps/"+a.ID, fmt.Sprintf(body, n+1)); {
		case status == http.StatusServiceUnavailable && strings.Contains(text, `"unavailable"`):
			return n
		case status != http.StatusOK:
			g.t.Fatalf("change %d: %d %s", n+1, status, text)
		}
	}
	g.t.Fatal("no change was refused")
	return 0
}
