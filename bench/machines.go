package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/bench/load"
	"github.com/seed-c079cc48/caddy-realtime/bench/server"
)

// A machineWork is a fan-out that is published at one machine, and whose
// subscribers are connected to another. Further machines have no subscribers.
type machineWork struct {
	machines int
	fanout
}

func (w machineWork) String() string { return fmt.Sprintf("%dm-%s", w.machines, w.fanout) }

// overMachines are the works of servers that share a Redis. Ours without Redis
// takes part, because the others are compared with it.
var overMachines = []machineWork{
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
	return slices.ContainsFunc(overMachines, func(w machineWork) bool { return w.String() == work })
}

// concernsMachines says whether a peer takes part in a work over machines. Only
// ours accepts several messages in one request.
func concernsMachines(p *server.Peer, work string) bool {
	if strings.Contains(work, "-batch") {
		return p.Name == "ours" || p.Shares && p.Batches
	}
	return p.Name == "ours" || p.Shares
}

func (w machineWork) group(s *settings, p *server.Peer, round int, r *results) error {
	if !s.wants(w.String()) || !concerns(p, w.String()) {
		return nil
	}
	n, do := w.machines, w.shared
	if !p.Shares {
		n, do = 2, w.inMemory
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

// shared does the work on machines that share a Redis.
func (w machineWork) shared(s *settings, m *server.Machines, crowd *load.Crowd, d time.Duration, profile string) (values, error) {
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

// inMemory does the work on one machine, and publishes the same to a second one
// that has no subscribers: its CPU time is what a publish costs without
// deliveries. A lone publisher sends each message to both in turn, so that both
// publish at the same pace. Several publishers do one machine after the other.
func (w machineWork) inMemory(s *settings, m *server.Machines, crowd *load.Crowd, d time.Duration, profile string) (values, error) {
	unheard, heard := m.All[0], m.All[1]
	meter := newMeter(heard, unheard)
	work := w.work(s, d)
	if w.publishers == 1 {
		work.Beside = unheard.Target
	}
	outcome, err := s.profiled(heard, profile, "-B", func() (load.Outcome, error) {
		return load.Do(heard.Target, crowd, work, meter.read)
	})
	if err != nil {
		return nil, err
	}
	outcome.CPU = meter.used(0, 1)
	v := valuesOf(outcome)
	publishes := outcome.Publishes
	if w.publishers > 1 {
		meter = newMeter(heard, unheard)
		nobody := load.NewCrowd(unheard.Target)
		alone, err := s.profiled(unheard, profile, "-A", func() (load.Outcome, error) {
			return load.Do(unheard.Target, nobody, work, meter.read)
		})
		if err != nil {
			return nil, err
		}
		publishes = alone.Publishes
	}
	v["publish"] = micros(meter.used(1, 2)) / float64(max(1, publishes))
	return v, nil
}
