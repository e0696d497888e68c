package webhook

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/zap"
)

// childEnv makes the test binary act as another process that uses the queues in its
// working directory. The value is the URL of its hook.
const childEnv = "WEBHOOK_TEST_CHILD"

func TestMain(m *testing.M) {
	url := os.Getenv(childEnv)
	if url == "" {
		os.Exit(m.Run())
	}
	if err := emitForEver(url); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// emitForEver emits events, and reports each hundred.
func emitForEver(url string) error {
	m, err := Open(Options{Dir: ".", Logger: zap.NewNop(), AllowPrivate: true, Timing: quickly})
	if err != nil {
		return err
	}
	if err := m.Set([]Hook{hookTo(url)}); err != nil {
		return err
	}
	for n := 0; ; n += 100 {
		emit(m, "shop", n, 100)
		fmt.Println("emitted", n)
		for m.pending() > 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// A child is this test binary as another process.
type child struct {
	*exec.Cmd
	lines *bufio.Scanner
}

// startChild starts a child, which ends with the test.
func startChild(t *testing.T, url, dir string) child {
	t.Helper()
	self, err := os.Executable() // an absolute path
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Dir = dir
	c.Env = append(os.Environ(), childEnv+"="+url)
	c.Stderr = os.Stderr
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return child{c, bufio.NewScanner(stdout)}
}
