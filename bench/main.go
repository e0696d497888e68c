// Command bench puts the same work on caddy-realtime and on what its users
// would pick instead, and prints what each costs as Markdown. README.md says
// how and why.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/bench/peer"
	"github.com/seed-c079cc48/caddy-realtime/bench/server"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "peer" {
		exit(peer.Run(os.Args[2:]))
	}
	exit(bench())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// settings are the command line.
type settings struct {
	paths    server.Paths
	peers    []*server.Peer
	works    []string // patterns of path.Match
	rounds   int
	duration time.Duration
	interval time.Duration
	settle   time.Duration
	json     string
	profile  string // a directory
}

// wants says whether a work was selected.
func (s *settings) wants(work string) bool {
	return slices.ContainsFunc(s.works, func(pattern string) bool {
		ok, _ := path.Match(pattern, work) // patterns were checked
		return ok
	})
}

const (
	quickPeers = "ours,ours+tls,ours+log,respond,node,centrifuge,loop"
	fullPeers  = quickPeers + ",zishang"
	// machinePeers only take part in works over machines.
	machinePeers = ",ours+redis,ours+nohistory,node+streams,node+sharded,centrifuge+redis,centrifuge+history"
	quickWorks   = "1x1000-1p-100,1x1000-32p-100,1x1000-*-16384,1x10000-*,1000x1-*,connect,idle,slow,storm"
)

func parse() (*settings, error) {
	full := flag.Bool("full", false, "all works and peers, longer, in 5 rounds")
	peers := flag.String("peers", "", "which servers, with commas (default "+quickPeers+machinePeers+"; with -full, zishang too)")
	works := flag.String("works", "", "which works, with commas, * allowed (default "+quickWorks+"; with -full, all)")
	rounds := flag.Int("rounds", 3, "how often each is measured")
	duration := flag.Duration("duration", 2*time.Second, "of each fan-out")
	interval := flag.Duration("interval", 0, "from one message of a lone publisher to the next; 0 is when all have the one before")
	settle := flag.Duration("settle", 10*time.Second, "before the memory of idle connections is read")
	caddy := flag.String("caddy", "build/caddy", "the binary of ours")
	before := flag.String("before", "", "another build of ours, for the peers before and before+redis")
	node := flag.String("node", "bench/node", "the directory of server.mjs")
	lines := flag.String("settings", "", "more for the realtime option of ours, such as 'max_queue 16MiB'")
	share := flag.Float64("redis-share", 0, "the part of a core that the machines' Redis has; 0 is as much as it needs")
	raw := flag.String("json", "", "file for every single measurement")
	profile := flag.String("profile", "", "directory for CPU profiles of ours, one a work")
	flag.Parse()
	if flag.NArg() > 0 {
		return nil, fmt.Errorf("what is %q?", flag.Arg(0))
	}
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if *full {
		setUnless(given["peers"], peers, fullPeers+machinePeers)
		setUnless(given["works"], works, "*")
		setUnless(given["rounds"], rounds, 5)
		setUnless(given["duration"], duration, 4*time.Second)
	}
	setUnless(given["peers"], peers, quickPeers+machinePeers)
	setUnless(given["works"], works, quickWorks)
	s := &settings{
		works: strings.Split(*works, ","), rounds: *rounds, duration: *duration,
		interval: *interval, settle: *settle, json: *raw, profile: *profile,
		paths: server.Paths{Settings: *lines, RedisShare: *share},
	}
	return s, errors.Join(s.find(*caddy, *before, *node), s.choose(*peers))
}

func setUnless[T any](given bool, p *T, value T) {
	if !given {
		*p = value
	}
}

func (s *settings) find(caddy, before, node string) (err error) {
	for _, pattern := range s.works {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("%q: %w", pattern, err)
		}
	}
	if s.paths.Caddy, err = filepath.Abs(caddy); err != nil {
		return err
	}
	if before != "" {
		if s.paths.Before, err = filepath.Abs(before); err != nil {
			return err
		}
	}
	if s.paths.Node, err = filepath.Abs(node); err != nil {
		return err
	}
	s.paths.Self, err = os.Executable()
	return err
}

func (s *settings) choose(names string) error {
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(server.Peers, func(p *server.Peer) bool { return p.Name == name })
		if i < 0 {
			return fmt.Errorf("no server is called %q", name)
		}
		s.peers = append(s.peers, server.Peers[i])
	}
	return nil
}

func bench() error {
	s, err := parse()
	if err != nil {
		return err
	}
	r := &results{}
	start := time.Now()
	for round := range s.rounds {
		for _, g := range groups() {
			for i := range s.peers {
				// Who comes first changes, so that nobody always has the
				// machine as another left it.
				p := s.peers[(i+round)%len(s.peers)]
				if err := g(s, p, round, r); err != nil {
					r.fail(fmt.Sprintf("round %d, %s: %v", round+1, p.Name, err))
				}
			}
		}
		fmt.Fprintf(os.Stderr, "round %d of %d: %s so far\n", round+1, s.rounds, time.Since(start).Round(time.Second))
	}
	r.print(os.Stdout, s)
	if s.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(s.json, append(text, '\n'), 0o600)
}
