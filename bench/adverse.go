package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/bench/load"
	"github.com/seed-c079cc48/caddy-realtime/bench/server"
)

// The works that are not a server's good days.
const (
	slow  = "slow"
	storm = "storm"

	readers = 900
	stalled = 100
)

// slowWork is 16 KiB 40 times a second. It goes on until the kernel's buffers
// and the server's queues of who stalls are full, and a while longer.
var slowWork = load.Work{Publishers: 1, Payload: 16384, Channels: 1, Interval: 25 * time.Millisecond, Duration: 20 * time.Second}

// slowGroup measures what those who read notice of those who have stopped.
func slowGroup(s *settings, p *server.Peer, round int, r *results) error {
	if !s.wants(slow) || !concerns(p, slow) {
		return nil
	}
	return onServer(s, p, func(process *server.Process, crowd *load.Crowd) error {
		if err := crowd.Join(readers, 1, 1, parallel); err != nil {
			return err
		}
		w := slowWork
		w.Duration /= 2
		without, err := load.Do(process.Target, crowd, w, process.CPU)
		if err != nil {
			return err
		}
		if err := crowd.Stall(stalled, parallel); err != nil {
			return err
		}
		memory, err := process.WatchMemory()
		if err != nil {
			return err
		}
		with, err := load.Do(process.Target, crowd, slowWork, process.CPU)
		if err != nil {
			return err
		}
		v := values{
			"p99": quantile(with.Latencies, 99), "p99 without": quantile(without.Latencies, 99),
			"lost": float64(with.Lost + without.Lost), "dropped": float64(crowd.Dropped()),
		}
		v["p99 ratio"] = v["p99"] / v["p99 without"]
		time.Sleep(s.settle)
		if err := v.addGrowth(memory); err != nil {
			return err
		}
		v["cut off"] = float64(crowd.CutOff())
		r.addAdverse(round, slow, p.Name, v)
		return nil
	})
}

// stormGroup has everybody connect at once, after a first crowd, which is
// gone, has shown what the server needs for it.
func stormGroup(s *settings, p *server.Peer, round int, r *results) error {
	if !s.wants(storm) || !concerns(p, storm) {
		return nil
	}
	return onServer(s, p, func(process *server.Process, crowd *load.Crowd) error {
		first := load.NewCrowd(process.Target)
		err := first.Join(idle, 1, 1, parallel)
		time.Sleep(s.settle)
		memory, memoryErr := process.WatchMemory()
		first.Close()
		if err := errors.Join(err, memoryErr); err != nil {
			return fmt.Errorf("before the storm: %w", err)
		}
		before, err := process.CPU()
		if err != nil {
			return err
		}
		outcome, err := crowd.Storm(idle)
		if err != nil {
			return err
		}
		after, err := process.CPU()
		if err != nil {
			return err
		}
		v := values{
			"seconds": outcome.Elapsed.Seconds(), "refused": float64(outcome.Refused), "failed": float64(outcome.Failed),
			"cpu": micros(after-before) / idle,
		}
		time.Sleep(s.settle)
		if err := v.addGrowth(memory); err != nil {
			return err
		}
		r.addAdverse(round, storm, p.Name, v)
		return nil
	})
}

// addGrowth adds by how many megabytes a server was larger at its peak, and is
// now.
func (v values) addGrowth(memory *server.MemoryWatch) error {
	grown, left, err := memory.Growth()
	v["grown"], v["left"] = float64(grown)/1e6, float64(left)/1e6
	return err
}

func (r *results) addAdverse(round int, work, peer string, v values) {
	fmt.Fprintf(os.Stderr, "%d %-10s %s: %v\n", round+1, peer, work, v)
	r.add(record{round, work, peer, v})
}
