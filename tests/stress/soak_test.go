package stress

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var soakTime = flag.Duration("soak", 10*time.Second, "how long TestSoak has clients come and go; make soak")

// A soak is a gateway that is used in all ways at once, for as long as asked.
type soak struct {
	*gateway
	tally    tally
	app      atomic.Pointer[app] // its publish key changes
	channels []*ledger
	flood    *ledger // a channel of large events, for those who stall

	// admin is held for writing while a reload restarts Caddy's admin endpoint,
	// which drops requests that come then.
	admin sync.RWMutex

	publishes, connects, upgrades, refused, revoked, rotations, reloads, cutOff, resets atomic.Int64
}

// settings of the gateway: heartbeats that find those who went without a word.
func (s *soak) settings(more string) string {
	return "ping_interval 3s\n		ping_timeout 5s\n		connect_timeout 5s\n		" + more
}

// whole is the configuration, which has who was disconnected, and why, logged.
func (s *soak) whole(settings string) string {
	return strings.Replace(s.caddyfile(settings), "persist_config off\n", `persist_config off
	log why {
		output file `+filepath.Join(s.dir, "why.log")+` {
			roll_disabled
		}
		level DEBUG
		include realtime
	}
`, 1)
}

// TestSoak accounts for every event that anybody was owed, while clients come
// and go, and sees that what the process holds when it is quiet does not grow.
func TestSoak(t *testing.T) {
	t.Parallel()
	const rounds = 15
	stay := sized(120, 300)
	s := &soak{}
	s.gateway = startWith(t, func(g *gateway) string {
		s.gateway = g
		return s.whole(s.settings(""))
	})
	a := s.newApp()
	s.app.Store(&a)
	for i := range 12 {
		s.channels = append(s.channels, &ledger{name: "c" + strconv.Itoa(i), size: 300, interval: 100 * time.Millisecond})
	}
	s.channels[11].size, s.channels[11].interval = 32<<10, 50*time.Millisecond
	s.flood = &ledger{name: "flood", size: 128 << 10, interval: 50 * time.Millisecond}

	// Those who stay from the beginning to the end.
	var staying []*member
	for i := range stay {
		m, err := s.enter(a, ways[i%len(ways)], 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range []*ledger{s.channels[i%11], s.channels[(i+5)%11]} {
			if err := m.subscribe(l); err != nil {
				t.Fatal(err)
			}
		}
		staying = append(staying, m)
	}

	t.Cleanup(func() {
		t.Log(s.sum())
		if err := s.tally.verdict(); err != nil {
			t.Error(err)
			s.keepLog()
		}
	})
	round := min(max(*soakTime/rounds, 5*time.Second), 5*time.Minute)
	begin := time.Now()
	var first, last held
	for n := 1; n == 1 || time.Since(begin) < *soakTime; n++ {
		s.churnFor(round)
		for _, m := range staying {
			for _, sub := range m.all() {
				sub.caughtUp(m.client.Done(), patience)
			}
			if err := m.client.Err(); err != nil {
				s.tally.wrong("%s, who was to stay, was disconnected: %v", m.who, err)
			}
		}
		s.await("those who left are gone", time.Minute, func() bool { return s.metric("connections") <= float64(len(staying)) })
		last = s.holds()
		if n == 1 {
			first = last // pools and buffers have grown
		}
		t.Logf("%8s  %s", time.Since(begin).Round(time.Second), last)
		if s.tally.verdict() != nil {
			break // what comes after would only hide it
		}
	}
	s.metricsAgree(len(staying))
	for i, m := range staying {
		m.leave(i, false)
	}
	if s.tally.lost.Load() != 0 || s.tally.doubled.Load() != 0 {
		t.Error("that is not as it has to be")
	}
	if last.goroutines > first.goroutines+10 || last.heap > first.heap+4<<20 || last.fds > first.fds+10 {
		t.Errorf("what the process holds has grown:\n%s\n%s\n%s", first, last, s.goroutineDump())
	}
}

// keepLog leaves the log of who was disconnected, for people to look at.
func (s *soak) keepLog() {
	log, err := os.ReadFile(filepath.Join(s.dir, "why.log"))
	if err == nil {
		err = os.WriteFile(filepath.Join("..", "..", "build", "soak.log"), log, 0o600)
	}
	s.t.Logf("build/soak.log says who was disconnected, and why; %v", err)
}

// churnFor does everything at once for a while, and returns when all of it has
// ended.
func (s *soak) churnFor(d time.Duration) {
	churning, stopChurn := context.WithTimeout(context.Background(), d)
	defer stopChurn()
	speaking, stopSpeaking := context.WithCancel(context.Background())
	defer stopSpeaking()
	var speakers, others sync.WaitGroup
	for _, l := range append(slices.Clip(s.channels), s.flood) {
		speakers.Go(func() { s.speak(speaking, l) })
	}
	for range sized(25, 40) {
		others.Go(func() { s.churn(churning) })
	}
	for what, task := range map[string]struct {
		interval time.Duration
		do       func(context.Context, int) error
	}{
		"reload":             {3 * time.Second, s.reconfigure},
		"a revocation":       {2 * time.Second, s.revoke},
		"a rotation":         {5 * time.Second, s.rotate},
		"an app":             {2 * time.Second, s.found},
		"clients who stall":  {3 * time.Second, s.starve},
		"a wrong publish":    {500 * time.Millisecond, s.misuse},
		"a scrape":           {5 * time.Second, func(context.Context, int) error { _, err := s.count(overflows); return err }},
		"the health's check": {5 * time.Second, func(context.Context, int) error { return s.manage("GET", "/realtime/health", "", nil) }},
	} {
		others.Go(func() { s.every(churning, task.interval, what, task.do) })
	}
	others.Wait() // those who leave may wait for what is still published
	stopSpeaking()
	speakers.Wait()
}

// metricsAgree holds the gateway's own numbers to ours.
func (s *soak) metricsAgree(staying int) {
	s.t.Helper()
	for name, want := range map[string]float64{
		"connections":    float64(staying),
		"connecting":     0,
		"subscriptions":  float64(2 * staying),
		"channels":       11,
		"messages_total": float64(s.publishes.Load()),
	} {
		if n := s.metric(name); n != want {
			s.t.Errorf("caddy_realtime_%s is %v, want %v", name, n, want)
		}
	}
	if n := s.metric("deliveries_total"); n < float64(s.tally.made.Load()) {
		s.t.Errorf("by its metric the gateway made %v deliveries, of which %d arrived", n, s.tally.made.Load())
	}
}

// held is what the process holds when it is quiet.
type held struct {
	usage
	rss, peak int   // KiB
	store     int64 // bytes on disk
}

func (h held) String() string {
	return fmt.Sprintf("heap %5.1f MiB, %4d goroutines, %4d descriptors, resident %d MiB (%d at most), store %d KiB on disk",
		float64(h.heap)/(1<<20), h.goroutines, h.fds, h.rss>>10, h.peak>>10, h.store>>10)
}

var (
	residentSize = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)
	residentPeak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)
)

func (s *soak) holds() held {
	s.t.Helper()
	s.http.CloseIdleConnections()
	h := held{usage: s.usage()}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	h.rss, _ = strconv.Atoi(string(residentSize.FindSubmatch(status)[1]))
	h.peak, _ = strconv.Atoi(string(residentPeak.FindSubmatch(status)[1]))
	err = filepath.WalkDir(filepath.Join(s.dir, "caddy", "realtime"), func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			h.store += info.Sys().(*syscall.Stat_t).Blocks * 512 // the store's files have holes
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

// sum is the whole account.
func (s *soak) sum() string {
	return fmt.Sprintf(`%d events published; deliveries owed %d, made %d, lost %d, doubled %d
%d connects, %d upgrades on the way, %d sockets of revoked keys gone, %d rotations, %d reloads, %d stalled clients cut off, %d wrong publishes and connects refused, %d connections reset by Caddy at a reload`,
		s.publishes.Load(), s.tally.owed.Load(), s.tally.made.Load(), s.tally.lost.Load(), s.tally.doubled.Load(),
		s.connects.Load(), s.upgrades.Load(), s.revoked.Load(), s.rotations.Load(), s.reloads.Load(), s.cutOff.Load(), s.refused.Load(), s.resets.Load())
}
