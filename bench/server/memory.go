package server

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Resident is how many bytes of the process are in memory.
func (p *Process) Resident() (int64, error) { return p.memory("smaps_rollup", "Rss:") }

// memory reads a field in kB from one of the process's files.
func (p *Process) memory(file, field string) (int64, error) {
	text, err := os.ReadFile(p.proc(file))
	if err != nil {
		return 0, errors.Join(err, errors.New(p.Log()))
	}
	_, rest, ok := strings.Cut(string(text), field)
	fields := strings.Fields(rest[:min(len(rest), 40)])
	if !ok || len(fields) == 0 {
		return 0, fmt.Errorf("no %s in %s", field, file)
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10, err
}

func (p *Process) proc(file string) string {
	return fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file)
}

// A MemoryWatch tells how the memory of a process grows.
type MemoryWatch struct {
	p      *Process
	before int64
}

// WatchMemory begins now: the kernel forgets what the process's peak was.
func (p *Process) WatchMemory() (*MemoryWatch, error) {
	before, err := p.Resident()
	if err != nil {
		return nil, err
	}
	const resetPeak = "5" // proc_pid_clear_refs(5)
	return &MemoryWatch{p, before}, os.WriteFile(p.proc("clear_refs"), []byte(resetPeak), 0)
}

// Growth is by how many bytes the process was larger at its peak, and is now.
func (w *MemoryWatch) Growth() (peak, now int64, err error) {
	if peak, err = w.p.memory("status", "VmHWM:"); err != nil {
		return 0, 0, err
	}
	now, err = w.p.Resident()
	return peak - w.before, now - w.before, err
}
