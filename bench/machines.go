package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/bench/load"
	"github.com/seed-c079cc48/caddy-realtime/bench/server"
)

// A spread-out work is a fan-out with its publishers at the first machine and
// its subscribers at the second. More machines have no subscribers.
type spreadOut struct {
	machines int
	fanout
}

func (w spreadOut) String() string { return fmt.Sprintf("%dm-%s", w.machines, w.fanout) }

// overMachines are the works that servers with a shared Redis do. Ours in
// memory does them as what the others are compared with.
var overMachines = []spreadOut{
	{2, fanout{1, 1, 1, 100, 1, 1}},
	{2, fanout{1, 1000, 1, 100, 1, 1}},
	{4, fanout{1, 1000, 1, 100, 1, 1}},
	{8, fanout{1, 1000, 1, 100, 1, 1}},
	{2, fanout{1000, 1, 16, 100, 1, 1}},
	{4, fanout{1000, 1, 16, 100, 1, 1}},
	{8, fanout{1000, 1, 16, 100, 1, 1}},
	{2, fanout{1000, 1, 64, 100, 1, 1}},
	{2, fanout{1000, 1, 16, 100, 1, 100}},
}

func isOverMachines(work string) bool {
	return slices.ContainsFunc(overMachines, func(w spreadOut) bool { return w.String() == work })
}

// spreads says whether a peer takes part in a work over machines. Only ours
// takes several messages in one request.
func spreads(p *server.Peer, work string) bool {
	return p.Name == "ours" || p.Name == "ours+redis" || p.Shares && !strings.Contains(work, "-batch")
}

func (w spreadOut) group(s *settings, p *server.Peer, round int, r *results) error {
	if !s.wants(w.String()) || !concerns(p, w.String()) {
		return nil
	}
	n := w.machines
	if !p.Shares {
		n = 2 // one has the subscribers, one has none
	}
	machines, err := p.StartMachines(n, s.paths)
	if err != nil {
		return err
	}
	defer machines.Stop()
	crowd := load.NewCrowd(machines.All[1].Target)
	defer crowd.Close()
	if err := crowd.Join(w.channels*w.subscribers, w.channels, w.apps, parallel); err != nil {
		return err
	}
	do := w.shared
	if !p.Shares {
		do = w.inMemory
	}
	if _, err := do(s, machines, crowd, warmup, ""); err != nil {
		return fmt.Errorf("%s: warming up: %w", w, err)
	}
	v, err := do(s, machines, crowd, s.duration, p.Name+"-"+w.String())
	if err != nil {
		return fmt.Errorf("%s: %w", w, err)
	}
	r.addFanout(round, w.String(), p.Name, v)
	if n := crowd.Dropped(); n > 0 {
		return fmt.Errorf("%s: the server disconnected %d sockets", w, n)
	}
	return nil
}

func (w spreadOut) work(s *settings, d time.Duration) load.Work {
	return load.Work{
		Publishers: w.publishers, Payload: w.payload, Channels: w.channels, Apps: w.apps, Batch: w.batch,
		Duration: d, Interval: s.interval,
	}
}

// shared does the work over machines that share a Redis.
func (w spreadOut) shared(s *settings, m *server.Machines, crowd *load.Crowd, d time.Duration, profile string) (values, error) {
	first, second := m.All[0], m.All[1]
	meter := newMeter(append([]*server.Process{first, second, m.Redis}, m.All[2:]...)...)
	outcome, err := s.profiled(first, profile, "-A", func() (load.Outcome, error) {
		return s.profiled(second, profile, "-B", func() (load.Outcome, error) {
			return load.Do(first.Target, crowd, w.work(s, d), meter.read)
		})
	})
	if err != nil {
		return nil, err
	}
	outcome.CPU = meter.used(1, 2)
	v := valuesOf(outcome)
	publishes := float64(max(1, outcome.Publishes))
	v["publish"] = micros(meter.used(0, 1)) / publishes
	v["redis"] = micros(meter.used(2, 3)) / publishes
	v["ceiling"] = 1e6 / v["redis"]
	if others := len(m.All) - 2; others > 0 {
		v["others"] = micros(meter.used(3, 3+others)) / publishes / float64(others)
	}
	return v, nil
}

// inMemory has a machine with the subscribers, which is published to, and one
// without any, which shows what a publish alone costs: under the same load, a
// message after each that was delivered, or as many as it takes.
func (w spreadOut) inMemory(s *settings, m *server.Machines, crowd *load.Crowd, d time.Duration, profile string) (values, error) {
	quiet, busy := m.All[0], m.All[1]
	meter := newMeter(busy, quiet)
	work := w.work(s, d)
	if w.publishers == 1 {
		work.Beside = quiet.Target
	}
	outcome, err := s.profiled(busy, profile, "-B", func() (load.Outcome, error) {
		return load.Do(busy.Target, crowd, work, meter.read)
	})
	if err != nil {
		return nil, err
	}
	outcome.CPU = meter.used(0, 1)
	v := valuesOf(outcome)
	publishes := outcome.Publishes
	if w.publishers > 1 {
		meter = newMeter(busy, quiet)
		nobody := load.NewCrowd(quiet.Target)
		alone, err := s.profiled(quiet, profile, "-A", func() (load.Outcome, error) {
			return load.Do(quiet.Target, nobody, work, meter.read)
		})
		if err != nil {
			return nil, err
		}
		publishes = alone.Publishes
	}
	v["publish"] = micros(meter.used(1, 2)) / float64(max(1, publishes))
	return v, nil
}
