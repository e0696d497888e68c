package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/bench/load"
	"github.com/seed-c079cc48/caddy-realtime/bench/server"
)

// profiled does a work while Caddy's admin endpoint writes its CPU profile to
// a file, which is named for the work and for which of its machines it is. What is measured then has the profiler's cost in it.
func (s *settings) profiled(p *server.Process, name, machine string, do func() (load.Outcome, error)) (load.Outcome, error) {
	if s.profile == "" || name == "" || p.Admin == "" {
		return do()
	}
	file := filepath.Join(s.profile, name+machine+".pprof")
	saved := make(chan error, 1)
	go func() { saved <- saveProfile(file, p.Admin, s.duration) }()
	outcome, err := do()
	if saveErr := <-saved; err == nil {
		err = saveErr
	}
	return outcome, err
}

func saveProfile(file, admin string, d time.Duration) error {
	answer, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, max(1, int(d.Seconds()))))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	profile, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: %s: %s", answer.Status, profile)
	}
	return os.WriteFile(file, profile, 0o600)
}
