package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/bench/load"
	"github.com/seed-c079cc48/caddy-realtime/bench/server"
)

// A fanout is a kind of work: publishers to channels with subscribers.
type fanout struct {
	channels, subscribers int // subscribers of each channel
	publishers, payload   int
	apps                  int // that the channels are of; 0 is 1
	batch                 int // messages of a publish
}

func (f fanout) String() string {
	if f.batch > 1 {
		one := f
		one.batch = 1
		return fmt.Sprintf("%s-batch%d", one, f.batch)
	}
	if f.apps > 1 {
		return fmt.Sprintf("%dx%d-%dp-%da-%d", f.channels, f.subscribers, f.publishers, f.apps, f.payload)
	}
	return fmt.Sprintf("%dx%d-%dp-%d", f.channels, f.subscribers, f.publishers, f.payload)
}

// crowds are the works on one channel or one subscriber each, those in a row
// with the same connections. The curves of README.md go through them.
var crowds = [][]fanout{
	{
		{1, 1000, 1, 100, 1, 1},
		{1, 1000, 32, 100, 1, 1},
		{1, 1000, 1, 1024, 1, 1},
		{1, 1000, 32, 1024, 1, 1},
		{1, 1000, 1, 16384, 1, 1},
		{1, 1000, 32, 16384, 1, 1},
		{1, 1000, 1, 4096, 1, 1},
		{1, 1000, 1, 65536, 1, 1},
		{1, 1000, 2, 100, 1, 1},
		{1, 1000, 4, 100, 1, 1},
		{1, 1000, 8, 100, 1, 1},
		{1, 1000, 16, 100, 1, 1},
	},
	{{1, 1, 1, 100, 1, 1}},
	{{1, 10, 1, 100, 1, 1}},
	{{1, 100, 1, 100, 1, 1}},
	{{1, 3000, 1, 100, 1, 1}},
	{{1, 1, 16, 100, 1, 1}},
	{{10, 1, 16, 100, 1, 1}},
	{{100, 1, 16, 100, 1, 1}},
	{{1000, 1, 16, 100, 1, 1}, {1000, 1, 16, 100, 1, 100}},
	{{1008, 1, 16, 100, 16, 1}},
	{{10000, 1, 16, 100, 1, 1}},
}

// large are works on the connections that idle are.
var large = []fanout{{1, idle, 1, 100, 1, 1}, {1, idle, 32, 100, 1, 1}}

// A group is works that share a server.
type group func(s *settings, p *server.Peer, round int, r *results) error

func groups() (all []group) {
	for _, works := range crowds {
		all = append(all, func(s *settings, p *server.Peer, round int, r *results) error {
			return fanouts(s, p, round, r, selected(s, p, works))
		})
	}
	for _, work := range overMachines {
		all = append(all, work.group)
	}
	return append(all, largeGroup, slowGroup, stormGroup, returningGroup)
}

const (
	parallel = 64   // connects at a time
	connects = 5000 // that are measured
	idle     = 10000
	warmup   = 500 * time.Millisecond
)

// concerns says whether a peer takes part in a work. What is ours in another
// setting does where the setting matters.
func concerns(p *server.Peer, work string) bool {
	if isOverMachines(work) {
		return concernsMachines(p, work)
	}
	if p.Shares {
		return false
	}
	thousand := strings.HasPrefix(work, "1x1000-") || strings.HasPrefix(work, "1000x1-")
	if strings.Contains(work, "a-") || strings.Contains(work, "-batch") { // several apps, or messages
		return p.Name == "ours" || p.Name == "before"
	}
	if work == returning {
		return p.Name == "ours" || p.Name == "before" || p.Name == "ours+recover"
	}
	switch p.Name {
	case "ours+tls":
		return thousand || !strings.Contains(work, "x")
	case "ours+recover":
		return thousand && strings.HasSuffix(work, "-100") || !strings.Contains(work, "x") && work != slow && work != storm
	case "ours+hook", "ours+hanging":
		return strings.HasSuffix(work, "-100") || work == "connect"
	case "ours+log":
		return thousand && strings.HasSuffix(work, "-100") || work == "connect"
	case "respond":
		return strings.HasSuffix(work, "x1-16p-100")
	case "loop", "zishang": // a client that stalls stops the loop
		return work != slow && work != storm
	}
	return true
}

func selected(s *settings, p *server.Peer, all []fanout) (chosen []fanout) {
	for _, f := range all {
		if s.wants(f.String()) && concerns(p, f.String()) {
			chosen = append(chosen, f)
		}
	}
	return chosen
}

// fanouts starts a server, connects what the first work needs, and does all.
func fanouts(s *settings, p *server.Peer, round int, r *results, works []fanout) error {
	if len(works) == 0 {
		return nil
	}
	return onServer(s, p, func(process *server.Process, crowd *load.Crowd) error {
		if f := works[0]; !p.OnlyAnswers {
			if err := crowd.Join(f.channels*f.subscribers, f.channels, f.apps, parallel); err != nil {
				return err
			}
		}
		return doAll(s, p, round, r, works, process, crowd)
	})
}

// onServer does something with a server of its own and a crowd that is empty.
func onServer(s *settings, p *server.Peer, do func(*server.Process, *load.Crowd) error) error {
	process, err := p.Start(s.paths)
	if err != nil {
		return err
	}
	defer process.Stop()
	crowd := load.NewCrowd(process.Target)
	defer crowd.Close()
	return do(process, crowd)
}

// work is what the generator does for so long.
func (f fanout) work(s *settings, d time.Duration) load.Work {
	return load.Work{
		Publishers: f.publishers, Payload: f.payload, Channels: f.channels, Apps: f.apps, Batch: f.batch,
		Duration: d, Interval: s.interval,
	}
}

func doAll(s *settings, p *server.Peer, round int, r *results, works []fanout, process *server.Process, crowd *load.Crowd) error {
	for _, f := range works {
		w := f.work(s, warmup)
		if _, err := load.Do(process.Target, crowd, w, process.CPU); err != nil {
			return fmt.Errorf("%s: warming up: %w", f, err)
		}
		w.Duration = s.duration
		if crowd.Dropped() == 0 { // else the measurement is over, too
			outcome, err := s.profiled(process, p.Name+"-"+f.String(), "", func() (load.Outcome, error) {
				return load.Do(process.Target, crowd, w, process.CPU)
			})
			if err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
			r.addOutcome(round, f.String(), p.Name, outcome)
		}
		if n := crowd.Dropped(); n > 0 {
			return fmt.Errorf("%s: the server disconnected %d sockets", f, n)
		}
	}
	return nil
}

// largeGroup is what needs ten thousand connections.
func largeGroup(s *settings, p *server.Peer, round int, r *results) error {
	connect := s.wants("connect") && concerns(p, "connect")
	rest := s.wants("idle") && concerns(p, "idle")
	works := selected(s, p, large)
	if !connect && !rest && len(works) == 0 {
		return nil
	}
	process, err := p.Start(s.paths)
	if err != nil {
		return err
	}
	defer process.Stop()
	if err := warmConnects(process); err != nil {
		return err
	}
	crowd := load.NewCrowd(process.Target)
	defer crowd.Close()
	before, err := process.Resident()
	if err != nil {
		return err
	}
	if connect {
		if err := measureConnects(process, crowd, round, r, p.Name); err != nil {
			return err
		}
	}
	if !rest && len(works) == 0 {
		return nil
	}
	if err := crowd.Join(idle-crowd.Size(), 1, 1, parallel); err != nil {
		return err
	}
	if rest {
		time.Sleep(s.settle) // what connecting left behind is collected meanwhile
		after, err := process.Resident()
		if err != nil {
			return err
		}
		r.add(record{round, "idle", p.Name, values{"bytes": float64(after-before) / idle}})
	}
	return doAll(s, p, round, r, works, process, crowd)
}

// warmConnects has a server do once what it is then measured at.
func warmConnects(process *server.Process) error {
	crowd := load.NewCrowd(process.Target)
	defer crowd.Close()
	if err := crowd.Join(100, 1, 1, parallel); err != nil {
		return err
	}
	w := load.Work{Publishers: 1, Payload: 100, Channels: 1, Duration: warmup}
	_, err := load.Do(process.Target, crowd, w, process.CPU)
	return err
}

func measureConnects(process *server.Process, crowd *load.Crowd, round int, r *results, name string) error {
	before, err := process.CPU()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := crowd.Join(connects, 1, 1, parallel); err != nil {
		return err
	}
	elapsed := time.Since(start)
	after, err := process.CPU()
	if err != nil {
		return err
	}
	if crowd.Size() != connects {
		return errors.New("not all have connected")
	}
	fmt.Fprintf(os.Stderr, "%d %-10s connect: %.0f µs\n", round+1, name, micros(after-before)/connects)
	r.add(record{round, "connect", name, values{
		"cpu": micros(after-before) / connects, "rate": connects / elapsed.Seconds(), "stuck": float64(crowd.Stuck()),
	}})
	return nil
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }
