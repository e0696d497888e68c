package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/bench/load"
	"github.com/seed-c079cc48/caddy-realtime/bench/server"
)

// The work of clients that lose their connection, miss messages, and come back.
const (
	returning = "storm-recover"

	subscribed = 4   // channels of each client
	missed     = 100 // messages
)

// returningGroup cuts all clients off at once, publishes what each of them
// misses, and has all come back at once. A peer whose clients do not ask for
// recovery has them subscribe again.
func returningGroup(s *settings, p *server.Peer, round int, r *results) error {
	if !s.wants(returning) || !concerns(p, returning) {
		return nil
	}
	return onServer(s, p, func(process *server.Process, crowd *load.Crowd) error {
		clients, err := leave(process, s.settle)
		if err != nil {
			return fmt.Errorf("before the storm: %w", err)
		}
		before, err := process.CPU()
		if err != nil {
			return err
		}
		outcome, err := crowd.Return(clients.all, subscribed, missed)
		if err != nil {
			return err
		}
		after, err := process.CPU()
		if err != nil {
			return err
		}
		outcomes, err := recoveries(process.Admin)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%d %-10s %s: %s\n", round+1, p.Name, returning, outcomes)
		v := values{
			"seconds": outcome.Elapsed.Seconds(), "delivered": outcome.Delivered.Seconds(),
			"refused": float64(outcome.Refused), "failed": float64(outcome.Failed),
			"recovered": float64(outcome.Recovered), "cpu": micros(after-before) / idle,
		}
		time.Sleep(s.settle)
		if err := v.addGrowth(clients.memory); err != nil {
			return err
		}
		v["dropped"] = float64(crowd.Dropped())
		crowd.Cut()
		missing, repeated := load.Faults(clients.all, missed)
		v["lost"], v["repeated"] = float64(missing), float64(repeated)
		r.addAdverse(round, returning, p.Name, v)
		return nil
	})
}

// absent are clients that have lost their connection, and the server's memory
// since the moment before.
type absent struct {
	all    []*load.Client
	memory *server.MemoryWatch
}

// leave connects clients, cuts them off, and publishes what they miss.
func leave(process *server.Process, settle time.Duration) (absent, error) {
	first := load.NewCrowd(process.Target)
	defer first.Close()
	clients, err := first.JoinClients(idle, subscribed, parallel)
	if err != nil {
		return absent{}, err
	}
	if err := first.Publish(subscribed, subscribed); err != nil { // so that each has a position
		return absent{}, err
	}
	time.Sleep(settle)
	memory, err := process.WatchMemory()
	if err != nil {
		return absent{}, err
	}
	first.Cut()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if n, err := connections(process.Admin); err != nil || n == "0" {
			return absent{clients, memory}, errors.Join(err, load.Publish(process.Target, missed, subscribed, 100))
		} else if time.Now().After(deadline) {
			return absent{}, fmt.Errorf("%s clients are still connected", n)
		}
	}
}

// connections reads the number of connected clients from the metrics.
func connections(admin string) (n string, err error) {
	text, err := metrics(admin)
	_, rest, _ := strings.Cut(text, "\ncaddy_realtime_connections ")
	n, _, _ = strings.Cut(rest, "\n")
	return n, err
}

// recoveries returns the number of recoveries by outcome, as the metrics have it.
func recoveries(admin string) (all []string, err error) {
	text, err := metrics(admin)
	for line := range strings.Lines(text) {
		if outcome, ok := strings.CutPrefix(line, "caddy_realtime_recoveries_total"); ok && !strings.HasSuffix(line, " 0\n") {
			all = append(all, strings.TrimSpace(outcome))
		}
	}
	return all, err
}

func metrics(admin string) (string, error) {
	answer, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}
