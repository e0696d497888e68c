package stress

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// store is the keystore's directory, where nobody has named another.
func (g *gateway) store() string { return filepath.Join(g.dir, "caddy", "realtime") }

// readLog is what was logged from an offset on.
func (g *gateway) readLog(from int) string {
	g.t.Helper()
	log, err := os.ReadFile(g.log.Name())
	if err != nil {
		g.t.Fatal(err)
	}
	return string(log[min(from, len(log)):])
}

// files are the contents of a directory by name.
type files map[string][]byte

func readFiles(t *testing.T, dir string) files {
	t.Helper()
	all := make(files)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() { // the queues of webhooks, which are not the store's
			continue
		}
		if all[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// write puts them in the place of what is there.
func (f files) write(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range f {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A damage is a store of which one file is not as it was.
type damage struct {
	name   string
	good   files
	file   string
	change func([]byte) []byte // of the file, which it copies; it is gone if it returns nil
}

// write puts the damaged store in the place of what is there.
func (d damage) write(t *testing.T, dir string) {
	t.Helper()
	f := maps.Clone(d.good)
	if f[d.file] = d.change(f[d.file]); f[d.file] == nil {
		delete(f, d.file)
	}
	f.write(t, dir)
}

// damages are those of one store: each file missing, cut off at several
// points, and with one bit that is another, at several points.
func damages(state string, good files) (all []damage) {
	for _, name := range slices.Sorted(maps.Keys(good)) {
		data := good[name]
		if name == "LOCK" {
			continue
		}
		with := func(what string, change func([]byte) []byte) {
			all = append(all, damage{fmt.Sprintf("%s, %s: %s", state, name, what), good, name, change})
		}
		with("missing", func([]byte) []byte { return nil })
		used := len(bytes.TrimRight(data, "\x00")) // logs are followed by zeros
		for _, size := range []int{0, 1, 8, 19, 20, 21, used / 4, used / 2, used * 3 / 4, used - 1, used} {
			if size >= 0 && size < len(data) {
				with(fmt.Sprint("cut off at ", size), func(data []byte) []byte { return data[:size:size] })
			}
		}
		for _, at := range []int{0, 3, 7, 8, 12, 19, 20, 24, 30, used / 4, used / 3, used / 2, used * 2 / 3, used - 40, used - 20, used - 9, used - 5, used - 1, used + 100} {
			if at >= 0 && at < len(data) {
				with(fmt.Sprint("another bit at ", at), func(data []byte) []byte {
					flipped := slices.Clone(data)
					flipped[at] ^= 0x10
					return flipped
				})
			}
		}
	}
	return all
}

// A store with a damaged file starts with all that was answered, or not at all
// and with a reason. Which of the damages are tried is at random.
func TestDamagedStoreIsWholeOrRefused(t *testing.T) {
	t.Parallel()
	g := prepareForwarding(t, "")
	g.boot()
	c := newCrew(g, 4)
	finish := c.start()
	g.await("some changes were answered", 20*time.Second, func() bool { return c.answered.Load() > 150 })
	finish()
	c.check(0)
	want := g.apps()
	g.kill()
	killed := readFiles(t, g.store())
	g.boot()
	g.expectEnd()
	g.terminate()
	ended := readFiles(t, g.store())
	all := append(damages("killed", killed), damages("ended", ended)...)
	c.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	whole, refused := 0, 0
	for _, d := range all[:min(len(all), faultRounds(6, 60))] {
		d.write(t, g.store())
		before := len(g.readLog(0))
		if g.tryBoot() {
			whole++
			if there := g.apps(); !sameApps(there, want) {
				t.Errorf("%s: it started with %d apps of %d, or others\n%s", d.name, len(there), len(want), g.readLog(before))
			}
			g.kill()
			continue
		}
		refused++
		log := g.readLog(before)
		if code := g.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(log, g.store()) || !strings.Contains(log, "restore a backup") ||
			strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
			t.Errorf("%s: exit code %d and\n%s", d.name, code, log)
		}
	}
	t.Logf("of %d damages, %d started whole and %d were refused", len(all), whole, refused)
	killed.write(t, g.store())
	g.boot()
	c.check(1000)
}

func sameApps(a, b map[string]*appView) bool {
	text := func(m map[string]*appView) (s string) {
		for _, id := range slices.Sorted(maps.Keys(m)) {
			v := m[id]
			s += fmt.Sprintln(id, v.Name, v.Enabled, v.Channels)
			for _, k := range v.Keys {
				s += fmt.Sprintln(k.ID, k.Kind, k.Expires, k.Revoked)
			}
		}
		return s
	}
	return text(a) == text(b)
}

// tryBoot starts the process, and is false if it ended instead of serving.
func (g *gateway) tryBoot() bool {
	g.t.Helper()
	g.launch()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		select {
		case <-g.ended:
			g.expectEnd()
			return false
		case <-time.After(10 * time.Millisecond):
		}
		answer, err := g.http.Get("http://" + g.Admin + "/realtime/apps")
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return true
		}
	}
	g.t.Fatalf("it neither serves nor ends\n%s", g.tail())
	return false
}
