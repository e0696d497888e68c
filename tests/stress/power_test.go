//go:build linux

package stress

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// A disk is a file system of a test's own, in a file, whose power can be cut.
type disk struct {
	t         *testing.T
	image, at string
}

// onEachDisk runs a test on file systems of every kind whose power can be cut,
// each mounted for the store of a gateway that was not started. What cannot be
// made here, which takes root, loop devices and mkfs, is left out.
func onEachDisk(t *testing.T, prepare func(t *testing.T) *gateway, test func(t *testing.T, g *gateway, d *disk)) {
	t.Helper()
	for kind, force := range map[string]string{"ext4": "-F", "xfs": "-f"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel() // each has a file system of its own, and mostly waits
			g := prepare(t)
			d := &disk{t, filepath.Join(t.TempDir(), "disk"), g.store()}
			err := os.MkdirAll(d.at, 0o700)
			if err == nil {
				err = os.WriteFile(d.image, nil, 0o600)
			}
			if err == nil {
				err = os.Truncate(d.image, 1<<30) // which takes no room
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, command := range []*exec.Cmd{exec.Command("/usr/sbin/mkfs."+kind, "-q", force, d.image), d.mounting()} {
				if out, err := command.CombinedOutput(); err != nil {
					t.Logf("it cannot be made and mounted here: %v %s", err, out)
					return
				}
			}
			t.Cleanup(d.unmount)
			test(t, g, d)
		})
	}
}

func (d *disk) mounting() *exec.Cmd { return exec.Command("mount", "-o", "loop", d.image, d.at) }

func (d *disk) unmount() {
	d.t.Helper()
	if out, err := exec.Command("umount", d.at).CombinedOutput(); err != nil {
		d.t.Errorf("umount: %v %s", err, out)
	}
}

// cut ends all writing at once, as xfstests do for the same end: nothing more
// gets to the disk, not even what waits in the journal. (XFS_IOC_GOINGDOWN with
// XFS_FSOP_GOING_FLAGS_NOLOGFLUSH of Linux's fs/xfs/libxfs/xfs_fs.h, which ext4
// has under other names.)
func (d *disk) cut() {
	d.t.Helper()
	const goingDown, noLogFlush = 0x8004587d, 2
	root, err := os.Open(d.at)
	if err != nil {
		d.t.Fatal(err)
	}
	defer root.Close()
	if err := unix.IoctlSetPointerInt(int(root.Fd()), goingDown, noLogFlush); err != nil {
		d.t.Fatal(err)
	}
}

// restore mounts what the disk has.
func (d *disk) restore() {
	d.t.Helper()
	d.unmount()
	if out, err := d.mounting().CombinedOutput(); err != nil {
		d.t.Fatalf("mount: %v %s", err, out)
	}
}

// What a disk has in a cache of its own is not what this tries.
func TestPowerThatFailsAnywhereInProvisioningLosesNothingAnswered(t *testing.T) {
	t.Parallel()
	forwarding := func(t *testing.T) *gateway {
		t.Helper()
		return prepareForwarding(t, "")
	}
	onEachDisk(t, forwarding, func(t *testing.T, g *gateway, d *disk) {
		t.Helper()
		fail := func() {
			g.checkLog()
			g.expectEnd()
			d.cut()
			// From here on there would be no process.
			_ = g.cmd.Process.Kill()
			<-g.ended
			if err := g.log.Truncate(0); err != nil {
				t.Fatal(err)
			}
			d.restore()
		}
		newCrew(g, 6).survives(fail, func(err error) bool { return strings.Contains(err.Error(), "input/output error") })
	})
}

// A disk that fails for good takes no change, and everything else goes on.
func TestDiskThatFailsRefusesChangesAndNothingElse(t *testing.T) {
	t.Parallel()
	plain := func(t *testing.T) *gateway {
		t.Helper()
		return prepare(t, func(g *gateway) string { return g.caddyfile("") })
	}
	onEachDisk(t, plain, func(t *testing.T, g *gateway, d *disk) {
		t.Helper()
		g.boot()
		a := g.newApp()
		crowd := g.join(a, "c", client.OverWebSocket, client.OverPolling)
		d.cut()
		for i := range 3 {
			status, text := g.admin(http.MethodPatch, "apps/"+a.ID, `{"name":"refused"}`)
			if status != http.StatusServiceUnavailable || !strings.Contains(text, g.store()) {
				t.Errorf("a change: %d %s", status, text)
			}
			if status, text := g.admin(http.MethodGet, "health", ""); status != http.StatusServiceUnavailable || !strings.Contains(text, "keystore") {
				t.Errorf("health: %d %s", status, text)
			}
			if n, err := g.publish(a, "c", fmt.Sprint(i+1)); n != 2 || err != nil {
				t.Errorf("published to %d, %v", n, err)
			}
		}
		wantWords(t, g.readLog(0), "the keystore could not be written", "input/output error")
		later := g.join(a, "c", client.OverWebSocket)
		g.check(crowd, 1, 3)
		crowd.close(t)
		later.close(t)
		g.expectEnd()
		g.terminate()
		d.restore()
		g.boot()
		if v := g.apps()[a.ID]; v == nil || v.Name != "stress" {
			t.Errorf("the app is %+v", v)
		}
	})
}
