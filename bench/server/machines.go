package server

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/seed-c079cc48/caddy-realtime/bench/load"
)

// Machines are several of one server, each a process. The first is published
// to, the second has the subscribers, and nobody is interested in anything at
// the others.
type Machines struct {
	All   []*Process
	Redis *Process // nil if the machines know nothing of each other
}

// StartMachines runs n of the server, and the Redis that they share.
func (p *Peer) StartMachines(n int, paths Paths) (*Machines, error) {
	m := &Machines{}
	if p.Shares {
		var err error
		if m.Redis, err = startRedis(paths.RedisShare); err != nil {
			return nil, err
		}
		paths.Redis = m.Redis.Target.Addr
	}
	for range n {
		machine, err := p.Start(paths)
		if err != nil {
			m.Stop()
			return nil, err
		}
		m.All = append(m.All, machine)
		if p.Shares && paths.Apps == nil {
			paths.Apps = machine.Target
		}
	}
	return m, nil
}

// Stop ends all of them.
func (m *Machines) Stop() {
	for _, machine := range m.All {
		machine.Stop()
	}
	if m.Redis != nil {
		m.Redis.Stop()
	}
}

// startRedis runs a Redis of its own, which keeps nothing on disk.
func startRedis(share float64) (*Process, error) {
	redis, err := startIn("redis", func(dir, addr string) (*Process, error) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		return listener(dir, addr, load.SocketIO, "redis-server",
			"--bind", host, "--port", port, "--dir", dir, "--save", "", "--appendonly", "no")
	})
	if err != nil || share == 0 {
		return redis, err
	}
	if err := redis.confine(share); err != nil {
		redis.Stop()
		return nil, fmt.Errorf("redis: %w", err)
	}
	return redis, nil
}

// oursOverRedis is ours with its keystore and its broker in the Redis, and with
// more settings.
func oursOverRedis(settings string) runner {
	return func(dir, addr string, paths Paths) (*Process, error) {
		paths.Settings += "\n\t\tredis redis://" + paths.Redis + "\n\t\t" + settings
		return caddy("realtime", "", false)(dir, addr, paths)
	}
}

func nodeOverRedis(adapter string) runner {
	return func(dir, addr string, paths Paths) (*Process, error) {
		return listener(dir, addr, load.SocketIO, "node",
			filepath.Join(paths.Node, "server.mjs"), addr, adapter, "redis://"+paths.Redis)
	}
}

// startIn makes a directory for a process and finds an address for it.
func startIn(name string, run func(dir, addr string) (*Process, error)) (*Process, error) {
	dir, err := os.MkdirTemp("", "bench-"+name+"-")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	process, err := run(dir, addr)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return process, nil
}
