package hub_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// filling is an Interested broker that keeps messages, as one for several machines does.
type filling struct {
	hub.Broker
	handler hub.Handler
	at      hub.Position
	floor   uint64
	past    map[string][]hub.Filled
	fills   int

	syncs       int
	beforeSync  func()
	unreachable error // what Sync returns
}

func (f *filling) Start(h hub.Handler) error {
	f.handler = h
	return nil
}

func (*filling) Close() error { return nil }

func (f *filling) Interest(_ context.Context, app, channel string, on bool) error {
	if on {
		f.fills++
		f.handler.Fill(app, channel, f.at, f.floor, f.past[channel])
	}
	return nil
}

func (f *filling) Sync(_ context.Context, app string) error {
	f.syncs++
	if f.beforeSync != nil {
		f.beforeSync()
	}
	if f.unreachable != nil {
		return f.unreachable
	}
	f.handler.Stand(app, f.at)
	return nil
}

// deliver delivers a message as if another machine had published it.
func (f *filling) deliver(channel string, offset uint64) {
	f.at.Offset = offset
	m := f.message(channel, offset)
	f.handler.Deliver(m).Flush()
}

func (f *filling) message(channel string, offset uint64) *hub.Message {
	return &hub.Message{
		App: "app", Channel: channel, Event: identified, Keep: hub.Keep{Messages: 10, Age: time.Minute},
		Position: hub.Position{Epoch: f.at.Epoch, Offset: offset},
	}
}

func TestSubscriberGetsWhatWasPublishedBeforeThisMachineHadOne(t *testing.T) {
	f := &filling{at: hub.Position{Epoch: hub.NewEpoch("app"), Offset: 90}, floor: 40, past: make(map[string][]hub.Filled)}
	id := func(offset uint64) hub.Position { return hub.Position{Epoch: f.at.Epoch, Offset: offset} }
	for _, offset := range []uint64{50, 60, 70} {
		f.past["a"] = append(f.past["a"], hub.Filled{Message: f.message("a", offset), Old: time.Duration(71-offset) * time.Second})
	}
	h := newHubOn(t, f, func() {})
	busy := h.Join("app", &inbox{id: "s"})
	subscribe(t, busy, "busy")
	f.deliver("busy", 89) // the hub is behind what it will learn from a
	f.at.Offset = 90
	ids := func(offsets ...uint64) (texts []string) {
		for _, offset := range offsets {
			at := id(offset)
			texts = append(texts, at.ID()+" a")
		}
		return texts
	}
	for name, c := range map[string]struct {
		from    hub.From
		missing hub.Missing
		want    []string
	}{
		"since the floor":           {hub.From{Since: new(id(40))}, "", ids(50, 60, 70)},
		"since the middle":          {hub.From{Since: new(id(55))}, "", ids(60, 70)},
		"since before the floor":    {hub.From{Since: new(id(39))}, hub.MissingExpired, nil},
		"since where the app is":    {hub.From{Since: new(id(90))}, "", nil},
		"since of another machine":  {hub.From{Since: new(id(91))}, hub.MissingExpired, nil},
		"the last two":              {hub.From{Last: 2}, "", ids(60, 70)},
		"the last fifteen seconds":  {hub.From{Within: 15 * time.Second}, "", ids(60, 70)},
		"nothing":                   {hub.From{}, "", nil},
		"since another epoch":       {hub.From{Since: &hub.Position{Epoch: hub.NewEpoch("app"), Offset: 60}}, hub.MissingRestarted, nil},
		"all that was ever there":   {hub.From{Last: 100}, "", ids(50, 60, 70)},
		"a position in the present": {hub.From{Since: new(id(70))}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			m, fills := h.Join("app", &inbox{id: "s"}), f.fills
			defer m.Close()
			var got hub.Standing[string]
			if err := m.Subscribe(background, "a", 10, c.from, func(s hub.Standing[string]) { got = s }); err != nil {
				t.Fatal(err)
			}
			if got.Missing != c.missing || fmt.Sprint(got.Replayed) != fmt.Sprint(c.want) {
				t.Errorf("missing %q, replayed %v; want %q, %v", got.Missing, got.Replayed, c.missing, c.want)
			}
			if c.from != (hub.From{}) && got.Position != id(90) {
				t.Errorf("the app is at %+v", got.Position)
			}
			if f.fills != fills+1 {
				t.Errorf("filled %d times", f.fills-fills)
			}
		})
	}
}

func TestFilledHistoryGrowsWithWhatIsDelivered(t *testing.T) {
	f := &filling{at: hub.Position{Epoch: hub.NewEpoch("app"), Offset: 5}, floor: 1, past: make(map[string][]hub.Filled)}
	f.past["a"] = []hub.Filled{{Message: f.message("a", 2)}, {Message: f.message("a", 4), Old: 2 * time.Minute}, {Message: f.message("a", 5)}}
	h := newHubOn(t, f, func() {})
	first, second := h.Join("app", &inbox{id: "s"}), h.Join("app", &inbox{id: "s"})
	subscribe(t, first, "a")
	f.deliver("a", 6)
	f.handler.Fill("app", "a", f.at, 99, nil) // too late: it has subscribers
	var got hub.Standing[string]
	if err := second.Subscribe(background, "a", 10, hub.From{Since: new(hub.Position{Epoch: f.at.Epoch, Offset: 4})}, func(s hub.Standing[string]) { got = s }); err != nil {
		t.Fatal(err)
	}
	if len(got.Replayed) != 2 || got.Missing != "" || got.Position.Offset != 6 || f.fills != 1 {
		t.Errorf("%+v after %d fills", got, f.fills)
	}
	first.Close()
	second.Close()
	if kept := h.History(); kept.Messages != 0 {
		t.Errorf("%d messages are kept for nobody", kept.Messages)
	}
}

// A rule that keeps messages for less time came in between.
func TestFilledMessageIsNotMissingBetweenOlderOnes(t *testing.T) {
	f := &filling{at: hub.Position{Epoch: hub.NewEpoch("app"), Offset: 3}, past: make(map[string][]hub.Filled)}
	for i, age := range []time.Duration{time.Hour, time.Second, time.Hour} {
		m := f.message("a", uint64(i+1))
		m.Keep.Age = age
		f.past["a"] = append(f.past["a"], hub.Filled{Message: m, Old: time.Minute})
	}
	h := newHubOn(t, f, func() {})
	since := func(offset uint64) hub.Past {
		t.Helper()
		past, err := h.Past(background, "app", "a", &hub.Position{Epoch: f.at.Epoch, Offset: offset}, 10, false)
		if err != nil {
			t.Fatal(err)
		}
		return past
	}
	if past := since(0); past.Missing != "" || len(past.Messages) != 3 {
		t.Errorf("%+v", past)
	}
	m := h.Join("app", &inbox{id: "s"})
	defer m.Close()
	subscribe(t, m, "a")
	f.at.Offset = 4
	sent := f.message("a", 4)
	sent.Keep.Messages = 2 // the oldest leave
	f.handler.Deliver(sent).Flush()
	if past := since(1); past.Missing != hub.MissingExpired || len(past.Messages) != 2 {
		t.Errorf("after the next message: %+v", past)
	}
}

// The broker does not fill the history again for those who come before the last one has
// left.
func TestHistoryStaysForThoseWhoComeWhileTheLastSubscriberLeaves(t *testing.T) {
	type answer struct {
		missing hub.Missing
		n       int
	}
	for name, ask := range map[string]func(*testHub, *hub.Position) (answer, error){
		"a subscriber": func(h *testHub, since *hub.Position) (a answer, err error) {
			m := h.Join("app", &inbox{id: "second"})
			defer m.Close()
			err = m.Subscribe(background, "a", 10, hub.From{Since: since}, func(s hub.Standing[string]) { a = answer{s.Missing, len(s.Replayed)} })
			return a, err
		},
		"a reader": func(h *testHub, since *hub.Position) (answer, error) {
			past, err := h.Past(background, "app", "a", since, 10, false)
			return answer{past.Missing, len(past.Messages)}, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &filling{at: hub.Position{Epoch: hub.NewEpoch("app"), Offset: 5}, floor: 1, past: make(map[string][]hub.Filled)}
			h := newHubOn(t, f, func() {})
			first := h.Join("app", &inbox{id: "first"})
			subscribe(t, first, "a")
			f.deliver("a", 6)
			f.at.Offset = 7 // of a channel that this machine does not get
			f.beforeSync = func() {
				first.Close()
				f.deliver("a", 8)
			}
			got, err := ask(h, new(hub.Position{Epoch: f.at.Epoch, Offset: 7}))
			if err != nil {
				t.Fatal(err)
			}
			if got != (answer{"", 1}) || f.fills != 1 {
				t.Errorf("%+v after %d fills", got, f.fills)
			}
			if kept := h.History(); kept.Messages != 0 {
				t.Errorf("%d messages are kept for nobody", kept.Messages)
			}
		})
	}
}
