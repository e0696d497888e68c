package main

import (
	"time"

	"github.com/seed-c079cc48/caddy-realtime/bench/server"
)

// A meter reads what several processes have used between two moments.
type meter struct {
	processes []*server.Process
	readings  [][]time.Duration // one a moment
}

func newMeter(processes ...*server.Process) *meter { return &meter{processes: processes} }

// read is for load.Do, which calls it at both moments. It returns the sum.
func (m *meter) read() (sum time.Duration, err error) {
	var all []time.Duration
	for _, p := range m.processes {
		cpu, err := p.CPU()
		if err != nil {
			return 0, err
		}
		all = append(all, cpu)
		sum += cpu
	}
	m.readings = append(m.readings, all)
	return sum, nil
}

// used is what processes from the i-th to before the end-th have used.
func (m *meter) used(i, end int) (sum time.Duration) {
	for ; i < end; i++ {
		sum += m.readings[len(m.readings)-1][i] - m.readings[0][i]
	}
	return sum
}
