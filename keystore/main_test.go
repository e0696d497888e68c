package keystore

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/zap"
)

// childEnv makes the test binary act as another process that has the store in
// its working directory open. The value selects what it does.
const childEnv = "KEYSTORE_TEST_CHILD"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "hold":
		err = hold()
	case "create":
		err = createForEver()
	case "starve":
		err = starve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// hold keeps the store open until its standard input ends.
func hold() error {
	store, err := OpenBadger(".", zap.NewNop())
	if err != nil {
		return err
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return store.Close()
}

// A child is this test binary in another role.
type child struct {
	*exec.Cmd
	lines *bufio.Scanner
}

// startChild starts a child, which ends with the test.
func startChild(t *testing.T, job, dir string) child {
	t.Helper()
	self, err := os.Executable() // an absolute path
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Dir = dir
	c.Env = append(os.Environ(), childEnv+"="+job)
	c.Stderr = os.Stderr
	if _, err := c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
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
