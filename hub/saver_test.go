package hub_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// keeping is a filling broker that keeps sessions of one machine.
type keeping struct {
	filling
	during chan func() // run by the next call, before it does anything

	mu    sync.Mutex // guards everything below
	kept  map[string]*hub.SessionRecord
	calls int
}

func newKeeping() *keeping {
	return &keeping{
		filling: filling{at: hub.Position{Epoch: hub.NewEpoch("app"), Offset: 1}, past: make(map[string][]hub.Filled)},
		during:  make(chan func(), 1), kept: make(map[string]*hub.SessionRecord),
	}
}

func (k *keeping) change(pid string, r *hub.SessionRecord) {
	select {
	case f := <-k.during:
		f()
	default:
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls++
	if old := k.kept[pid]; old != nil && r != nil && old.Version > r.Version {
		return
	}
	k.kept[pid] = r
}

func (k *keeping) SaveSession(_ context.Context, r *hub.SessionRecord, _ time.Duration) error {
	k.change(r.PID, r)
	return nil
}

func (k *keeping) DropSession(_ context.Context, _, pid string) error {
	k.change(pid, nil)
	return nil
}

func (k *keeping) FindSession(_ context.Context, _, pid string) (*hub.SessionRecord, string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kept[pid], "", nil
}

func (*keeping) TakeSession(context.Context, string, string, string) (bool, error) { return true, nil }

// channels returns those of a session that is kept, and whether there is one.
func (k *keeping) channels(pid string) (names []string, ok bool) {
	r, _, _ := k.FindSession(background, "", pid)
	if r == nil {
		return nil, false
	}
	for _, c := range r.Channels {
		names = append(names, c.Channel)
	}
	slices.Sort(names)
	return names, true
}

// another waits for one more call than so many.
func (k *keeping) another(n int) {
	for {
		k.mu.Lock()
		more := k.calls > n
		k.mu.Unlock()
		if more {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func TestSessionIsSavedBeforeItsClientKnowsOfAChannel(t *testing.T) {
	k := newKeeping()
	h := newHubOn(t, k, func() {})
	m := h.Join("app", &inbox{id: "s"})
	pid := h.Begin(m, "", time.Minute, nil).PID()
	subscribe(t, m, "other")
	in := func(want ...string) {
		t.Helper()
		if got, ok := k.channels(pid); !ok || !slices.Equal(got, want) {
			t.Errorf("the record has %v", got)
		}
	}
	k.during <- func() { // another change is saved while the member joins
		m.Unsubscribe("other")
		k.another(1)
	}
	if err := m.Subscribe(background, "a", 10, hub.From{}, func(hub.Standing[string]) { in("a") }); err != nil {
		t.Fatal(err)
	}
	k.during <- func() {
		m.Unsubscribe("a")
		k.another(3)
	}
	k.past["b"] = []hub.Filled{{Message: k.message("b", 1)}}
	err := m.Subscribe(background, "b", 10, hub.From{Last: 1}, func(s hub.Standing[string]) {
		if _, ok := k.channels(pid); ok || len(s.Replayed) != 1 {
			t.Error("there is a record while nobody knows what of the replay arrives")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	k.another(5)
	in("b")
	if r, _, _ := k.FindSession(background, "", pid); len(r.Replays) != 1 {
		t.Errorf("%d replays", len(r.Replays))
	}
	m.Close()
	k.another(6)
	if _, ok := k.channels(pid); ok {
		t.Error("a session that has ended is kept")
	}
}

func TestMemberWithoutASessionIsNotSaved(t *testing.T) {
	k := newKeeping()
	t.Cleanup(func() { // once the hub is closed
		if k.calls > 0 {
			t.Errorf("%d calls", k.calls)
		}
	})
	h := newHubOn(t, k, func() {})
	m := h.Join("app", &inbox{id: "s"})
	subscribe(t, m, "a")
	m.Close()
}
