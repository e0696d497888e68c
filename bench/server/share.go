package server

import (
	"os"
	"path/filepath"
	"strconv"
)

// sharePeriod is how often a process gets its share of a core, in microseconds. It is long,
// because caches are cold each time.
const sharePeriod = 100_000

// confine gives the process no more than a part of one core, by a control group of its
// own. That takes Linux and root.
func (p *Process) confine(share float64) error {
	quota, period := strconv.Itoa(int(share*sharePeriod)), strconv.Itoa(sharePeriod)
	root, limits := "/sys/fs/cgroup", [][2]string{{"cpu.max", quota + " " + period}}
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+cpu"), 0); err != nil {
			return err
		}
	} else { // version 1
		root, limits = filepath.Join(root, "cpu"), [][2]string{{"cpu.cfs_period_us", period}, {"cpu.cfs_quota_us", quota}}
	}
	pid := strconv.Itoa(p.cmd.Process.Pid)
	group := filepath.Join(root, "realtime-bench-"+pid)
	if err := os.Mkdir(group, 0o750); err != nil {
		return err
	}
	p.group = group
	for _, limit := range append(limits, [2]string{"cgroup.procs", pid}) {
		if err := os.WriteFile(filepath.Join(group, limit[0]), []byte(limit[1]), 0); err != nil {
			return err
		}
	}
	return nil
}
