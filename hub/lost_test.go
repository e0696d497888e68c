package hub_test

import (
	"slices"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

func TestClientsThatMissedWhatIsLostBeginAgain(t *testing.T) {
	for name, c := range map[string]struct {
		lose         func(h hub.Handler, at hub.Position)
		cut          []string
		away         hub.Recovery // of one that was away, in a
		quiet, other hub.Recovery // of one that was away, in b; of another app
	}{
		"messages of a channel": {
			lose: func(h hub.Handler, at hub.Position) { h.Lost("app", "a", at) },
			cut:  []string{"in a", "in both"}, away: hub.Expired, quiet: hub.Recovered, other: hub.Recovered,
		},
		"the epoch": {
			lose: func(h hub.Handler, _ hub.Position) { h.Moved("app", hub.NewEpoch("app")) },
			cut:  []string{"in a", "in b", "in both"}, away: hub.Restarted, quiet: hub.Restarted, other: hub.Recovered,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &filling{at: hub.Position{Epoch: hub.NewEpoch("app"), Offset: 1}}
			h := newHubOn(t, f, func() {})
			interrupted := make(chan string, 10)
			h.Interrupted(func(s hub.Subscriber[string]) { interrupted <- s.ID() })
			begin := func(app, id string, channels ...string) (*hub.Member[string], string) {
				m := h.Join(app, &inbox{id: id})
				s := h.Begin(m, "", time.Minute, nil)
				for _, channel := range channels {
					subscribe(t, m, channel)
				}
				return m, s.PID()
			}
			lost, lostPID := begin("app", "in a", "a")
			begin("app", "in both", "a", "b")
			begin("app", "in b", "b")
			plain := h.Join("app", &inbox{id: "cannot come back"})
			subscribe(t, plain, "a")
			away, awayPID := begin("app", "away", "a")
			quiet, quietPID := begin("app", "quiet", "b")
			other, otherPID := begin("other", "elsewhere", "a")
			f.deliver("a", 2)
			f.deliver("b", 3)
			for _, m := range []*hub.Member[string]{away, quiet, other} {
				m.Leave(time.Minute)
			}
			c.lose(f.handler, hub.Position{Epoch: f.at.Epoch, Offset: 4})
			var cut []string
			for range c.cut {
				cut = append(cut, <-interrupted)
			}
			if slices.Sort(cut); !slices.Equal(cut, c.cut) {
				t.Errorf("interrupted %v", cut)
			}
			lost.Leave(time.Minute) // as its connection ends
			for pid, want := range map[string]hub.Recovery{lostPID: hub.NoSession, awayPID: c.away, quietPID: c.quiet, otherPID: c.other} {
				app := "app"
				if pid == otherPID {
					app = "other"
				}
				position := f.at.ID()
				if app == "other" {
					position = ""
				}
				_, got := h.Recover(&hub.Return[string]{App: app, PID: pid, Position: position, To: &inbox{id: "back"}, Answer: func(*hub.Session[string], []string) {}})
				if got != want {
					t.Errorf("%s: got %s, want %s", pid, got, want)
				}
			}
			if n := len(interrupted); n > 0 {
				t.Errorf("%d more were interrupted", n)
			}
			if !plain.In("a") {
				t.Error("one that cannot come back has left")
			}
		})
	}
}
