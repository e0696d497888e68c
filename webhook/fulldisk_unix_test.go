//go:build linux || darwin || freebsd

package webhook

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// The kernel writes a part of what is to be written, and refuses the rest, as on a full
// disk.
func TestDiskThatIsFullCostsEventsThatAreCountedAndNothingElse(t *testing.T) {
	const alone = "WEBHOOK_TEST_FULL_DISK" // the limit is of a whole process
	if os.Getenv(alone) == "" {
		self, err := os.Executable()
		must(t, err)
		c := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
		c.Env = append(os.Environ(), alone+"=1")
		if output, err := c.CombinedOutput(); err != nil || !strings.Contains(string(output), "--- PASS: "+t.Name()) {
			t.Fatalf("%v\n%s", err, output)
		}
		return
	}
	core, logs := observer.New(zapcore.InfoLevel)
	r := newReceiver(t, answering(http.StatusInternalServerError))
	m := start(t, Options{Logger: zap.New(core)})
	set(t, m, hookTo(r.URL))
	var whole syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &whole))
	little := whole
	little.Cur = 20 << 10
	restore := func() { must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &whole)) }
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &little))
	defer restore()

	sent := 0
	until(t, "full disk", func() bool {
		emit(m, "shop", sent, 10)
		sent += 10
		until(t, "an attempt to write", func() bool { return m.pending() == 0 })
		return m.Stats().Dropped >= 100
	})
	if n := logs.FilterMessageSnippet("cannot be written").Len(); n == 0 {
		t.Error("nothing is logged")
	}
	restore()
	r.answers(nil)
	until(t, "space", func() bool {
		emit(m, "shop", sent, 1)
		sent++
		until(t, "an attempt to write", func() bool { return m.pending() == 0 })
		return logs.FilterMessageSnippet("can be written again").Len() > 0
	})
	until(t, "receipt", func() bool { return m.pending() == 0 && m.Stats().Waiting == 0 })
	if dropped := account(t, r.events(), uint64(sent)); dropped != m.Stats().Dropped || dropped < 100 {
		t.Errorf("the receiver was told of %d dropped events of %d", dropped, m.Stats().Dropped)
	}
}
