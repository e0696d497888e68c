// Package server starts the servers that are compared, each in a process of
// its own, and reads from the kernel what they use.
package server

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/bench/load"
)

// A Process is a running server.
type Process struct {
	Target *load.Target
	Admin  string // address of Caddy's admin endpoint, "" for the others

	cmd   *exec.Cmd
	dir   string
	ended chan struct{}

	receiver func() // closes the receiver of its webhooks; nil if there is none
	group    string // the directory of its control group, or ""
}

// start runs a command in a directory of its own, with its output in a file
// there.
func start(dir string, env []string, name string, args ...string) (*Process, error) {
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(name, args...) //nolint:gosec // what to run is what this program is for
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	// Nothing stays behind if this program is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, dir: dir, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is of no interest, that it did is
		close(p.ended)
	}()
	return p, nil
}

// await waits for a condition.
func (p *Process) await(ready func() bool) error {
	for deadline := time.Now().Add(30 * time.Second); !ready(); {
		select {
		case <-p.ended:
			return errors.New("the server has ended: " + p.Log())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return errors.New("the server does not answer: " + p.Log())
		}
	}
	return nil
}

// Log is the end of what the server printed.
func (p *Process) Log() string {
	log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return string(log[max(0, len(log)-2000):])
}

// Stop ends the process and removes its directory.
func (p *Process) Stop() {
	_ = p.cmd.Process.Kill()
	<-p.ended
	if p.receiver != nil {
		p.receiver()
	}
	if p.group != "" {
		_ = os.Remove(p.group)
	}
	_ = os.RemoveAll(p.dir)
}

// CPU is what all threads of the process have run so far, by the scheduler's
// own accounting in nanoseconds.
func (p *Process) CPU() (time.Duration, error) {
	files, err := filepath.Glob(p.proc("task/*/schedstat"))
	if err != nil || len(files) == 0 {
		return 0, errors.New("the server has ended: " + p.Log())
	}
	var sum time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has just ended
		}
		ran, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// host is a loopback address that other programs hardly use. Caddy shares a port
// with another process that does the same, so two that chose one would mix.
var host = fmt.Sprintf("127.%d.%d.%d", 1+rand.N(254), rand.N(256), 1+rand.N(254)) //nolint:gosec // no secret

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// listens says whether somebody accepts connections there.
func listens(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}
