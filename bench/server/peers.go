package server

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/bench/load"
)

// Paths are where the servers are.
type Paths struct {
	Caddy  string // the binary with this module
	Before string // another build of it, for the peer "before"
	Node   string // the directory of server.mjs
	Self   string // this program, which is also the peers in Go

	// Settings are more lines for the global option of ours.
	Settings string

	// Redis is the address of the one that machines share, and Apps those of
	// the machine that was first; it made them.
	Redis string
	Apps  *load.Target

	// RedisShare is the part of a core that this Redis has. 0 is as much as it needs.
	RedisShare float64
}

// A Peer is one of the servers that are compared.
type Peer struct {
	Name string

	// OnlyAnswers says that it has no sockets.
	OnlyAnswers bool

	// Shares says that several of it share a Redis.
	Shares bool

	// Batches says that a publish of one that shares can have several messages.
	Batches bool

	run runner
}

// A runner starts a server in a directory, on an address.
type runner func(dir, addr string, paths Paths) (*Process, error)

// Peers are all of them, ours first.
var Peers = []*Peer{
	{Name: "ours", run: caddy("realtime", "", false)},
	{Name: "before", run: before(caddy("realtime", "", false))},
	{Name: "ours+tls", run: caddy("realtime", "", true)},
	{Name: "ours+recover", run: recovering},
	{Name: "ours+log", run: caddy("realtime", "log {\n\t\toutput file access.log\n\t}", false)},
	{Name: "ours+hook", run: hooked(answers)},
	{Name: "ours+hanging", run: hooked(hangs)},
	{Name: "respond", run: caddy(`respond "{}"`, "", false), OnlyAnswers: true},
	{Name: "node", run: node},
	{Name: "centrifuge", run: self("centrifuge", load.Centrifuge)},
	{Name: "loop", run: self("loop", load.SocketIO)},
	{Name: "zishang", run: self("zishang", load.SocketIO)},
	{Name: "ours+redis", run: oursOverRedis(""), Shares: true, Batches: true},
	{Name: "before+redis", run: before(oursOverRedis("")), Shares: true, Batches: true},
	{Name: "ours+nohistory", run: oursOverRedis("history 0"), Shares: true, Batches: true},
	{Name: "node+streams", run: nodeOverRedis("streams"), Shares: true},
	{Name: "node+sharded", run: nodeOverRedis("sharded"), Shares: true},
	{Name: "centrifuge+redis", run: self("centrifuge+redis", load.Centrifuge), Shares: true},
	{Name: "centrifuge+history", run: self("centrifuge+history", load.Centrifuge), Shares: true},
}

// Start runs the server and returns once it serves.
func (p *Peer) Start(paths Paths) (*Process, error) {
	return startIn(p.Name, func(dir, addr string) (*Process, error) { return p.run(dir, addr, paths) })
}

// before is ours as it was.
func before(run runner) runner {
	return func(dir, addr string, paths Paths) (*Process, error) {
		if paths.Before == "" {
			return nil, errors.New("which binary? See -before")
		}
		paths.Caddy = paths.Before
		return run(dir, addr, paths)
	}
}

// recovering is ours with clients that ask for recovery.
func recovering(dir, addr string, paths Paths) (*Process, error) {
	p, err := caddy("realtime", "", false)(dir, addr, paths)
	if err == nil {
		p.Target.Auth = strings.TrimSuffix(p.Target.Auth, "}") + `,"recover":true}`
	}
	return p, err
}

func node(dir, addr string, paths Paths) (*Process, error) {
	return listener(dir, addr, load.SocketIO, "node", filepath.Join(paths.Node, "server.mjs"), addr)
}

func self(name string, dialect load.Dialect) runner {
	return func(dir, addr string, paths Paths) (*Process, error) {
		return listener(dir, addr, dialect, paths.Self, "peer", name, addr, paths.Redis)
	}
}

// listener is a server that is ready when it listens.
func listener(dir, addr string, dialect load.Dialect, name string, args ...string) (*Process, error) {
	p, err := start(dir, []string{"NODE_ENV=production"}, name, args...)
	if err != nil {
		return nil, err
	}
	p.Target = &load.Target{Addr: addr, Dialect: dialect}
	if err := p.await(func() bool { return listens(addr) }); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}
