package hub_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/random"
)

// late returns a hub that has a subscriber in the channel a, and has got the message 90
// of its app.
func late(t *testing.T) (*filling, *testHub, *inbox) {
	t.Helper()
	f := &filling{at: hub.Position{Epoch: hub.NewEpoch("app"), Offset: 50}, floor: 40, past: make(map[string][]hub.Filled)}
	h, resident := newHubOn(t, f, func() {}), &inbox{id: "resident"}
	subscribe(t, h.Join("app", resident), "a")
	f.deliver("a", 90)
	return f, h, resident
}

func TestClientThatKnowsMoreThanItsMachineHasMissedNothing(t *testing.T) {
	for name, arrive := range map[string]func(f *filling){
		"messages of other channels": func(f *filling) { f.at.Offset = 95 },
		"messages that come late": func(f *filling) {
			f.deliver("a", 91)
			f.deliver("a", 95)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, h, _ := late(t)
			since := &hub.Position{Epoch: f.at.Epoch, Offset: 95}
			f.beforeSync = func() { arrive(f) }
			in := &inbox{id: "client"}
			m, got := h.Join("app", in), hub.Standing[string]{Missing: "not answered"}
			joined := func(s hub.Standing[string]) { got = s }
			if done, err := m.TrySubscribe("a", 10, hub.From{Since: since}, joined); done || err != nil {
				t.Fatalf("done without the broker: %t, %v", done, err)
			}
			if err := m.Subscribe(background, "a", 10, hub.From{Since: since}, joined); err != nil {
				t.Fatal(err)
			}
			if got.Missing != "" || len(got.Replayed) > 0 || got.Position != *since {
				t.Errorf("missing %q, replayed %v, at %v", got.Missing, got.Replayed, got.Position)
			}
			if all := in.all(); len(all) > 0 {
				t.Errorf("it got again: %v", all)
			}
			f.beforeSync = nil
			if done, err := h.Join("app", in).TrySubscribe("a", 10, hub.From{Since: since}, joined); !done || err != nil || f.syncs != 1 {
				t.Errorf("the broker is asked again: %t, %v, %d calls", !done, err, f.syncs)
			}
		})
	}
}

func TestHistorySinceAPositionThatTheMachineDoesNotKnowYet(t *testing.T) {
	f, h, _ := late(t)
	since := &hub.Position{Epoch: f.at.Epoch, Offset: 95}
	f.beforeSync = func() {
		f.deliver("a", 95)
		f.deliver("a", 96)
	}
	past, err := h.Past(background, "app", "a", since, 10, false)
	if err != nil || past.Missing != "" || len(past.Messages) != 1 || past.Messages[0].Offset != 96 {
		t.Errorf("%+v, %v", past, err)
	}
}

func TestMachineThatCannotReachItsBrokerDoesNotGuess(t *testing.T) {
	f, h, _ := late(t)
	f.unreachable = errors.New("unreachable")
	for name, since := range map[string]*hub.Position{
		"later":         {Epoch: f.at.Epoch, Offset: 91},
		"another epoch": {Epoch: hub.NewEpoch("app"), Offset: 1},
	} {
		m := h.Join("app", &inbox{id: "client"})
		err := m.Subscribe(background, "a", 10, hub.From{Since: since}, func(hub.Standing[string]) { t.Errorf("%s: it was answered", name) })
		if !errors.Is(err, f.unreachable) || m.In("a") {
			t.Errorf("%s: %v", name, err)
		}
		if past, err := h.Past(background, "app", "a", since, 10, false); !errors.Is(err, f.unreachable) {
			t.Errorf("%s: %+v, %v", name, past, err)
		}
	}
	if n := h.Subscribers("app", "a"); n != 1 {
		t.Errorf("%d subscribers", n)
	}
	if err := h.Join("app", &inbox{id: "client"}).Subscribe(background, "a", 10, hub.From{Since: &hub.Position{Epoch: f.at.Epoch, Offset: 90}}, func(hub.Standing[string]) {}); err != nil {
		t.Errorf("what the machine knows needs no broker: %v", err)
	}
}

func TestClientsThatComeTogetherShareTheQuestionWhereTheirAppStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, h, _ := late(t)
		since, hold := &hub.Position{Epoch: f.at.Epoch, Offset: 95}, make(chan struct{})
		f.beforeSync = func() {
			<-hold
			f.at.Offset = 95
		}
		var clients sync.WaitGroup
		come := func(ctx context.Context, want error) {
			clients.Go(func() {
				m := h.Join("app", &inbox{id: "client"})
				err := m.Subscribe(ctx, "a", 10, hub.From{Since: since}, func(s hub.Standing[string]) {
					if s.Missing != "" {
						t.Errorf("missing %q", s.Missing)
					}
				})
				if !errors.Is(err, want) {
					t.Error(err)
				}
			})
		}
		come(t.Context(), nil)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		come(ctx, context.DeadlineExceeded) // who gives up takes nothing from the others
		for range 100 {
			come(t.Context(), nil)
		}
		time.Sleep(2 * time.Second)
		close(hold)
		clients.Wait()
		if f.syncs > 2 {
			t.Errorf("the broker was asked %d times", f.syncs)
		}
	})
}

func TestSessionOfAnotherMachineIsAheadOfThisOne(t *testing.T) {
	for name, c := range map[string]struct {
		start    uint64
		position uint64
	}{
		"it began later":           {start: 93},
		"its client knows of more": {start: 85, position: 95},
	} {
		t.Run(name, func(t *testing.T) {
			f, h, _ := late(t)
			id := func(offset uint64) string { return hub.Position{Epoch: f.at.Epoch, Offset: offset}.ID() }
			f.beforeSync = func() {
				for offset := uint64(91); offset <= 97; offset++ {
					f.deliver("a", offset)
				}
			}
			r := &hub.SessionRecord{Epoch: f.at.Epoch, Version: 1}
			r.App, r.PID, r.ID, r.Start = "app", random.Text(20), "session", c.start
			r.Channels = []hub.SubscriptionSnapshot{{Channel: "a", Since: c.start}}
			position := ""
			if c.position > 0 {
				position = id(c.position)
			}
			if err := h.Adopt(background, r, position, time.Minute); err != nil {
				t.Fatal(err)
			}
			var missed []string
			_, outcome := h.Recover(&hub.Return[string]{
				App: "app", PID: r.PID, Position: position, To: &inbox{id: "session"},
				Answer: func(_ *hub.Session[string], all []string) { missed = all },
			})
			first := max(c.start, c.position) + 1
			if outcome != hub.Recovered || len(missed) != int(97-first+1) || missed[0] != id(first)+" a" {
				t.Errorf("%s, and got %v", outcome, missed)
			}
		})
	}
}
