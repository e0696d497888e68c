package hub_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

func announce(h *testHub, app, channel, payload string) {
	h.Announce(app, channel, "", func() (string, bool) { return payload, true })
}

func TestAnnouncementReachesItsAppsChannelOnly(t *testing.T) {
	onEach(t, func(h *testHub) {
		boxes := map[string]*inbox{"app/a": {}, "app/b": {}, "other/a": {}}
		for key, box := range boxes {
			app, channel, _ := strings.Cut(key, "/")
			subscribe(h.t, h.Join(app, box), channel)
		}
		announce(h, "app", "a", "1")
		h.Announce("app", "a", "", func() (string, bool) { return "2", false })
		for key, box := range boxes {
			want := "[]"
			if key == "app/a" {
				want = "[1]"
			}
			if got := fmt.Sprint(box.all()); got != want {
				h.t.Errorf("%s got %s, want %s", key, got, want)
			}
		}
	})
}

func TestAnnouncementIsNotAMessage(t *testing.T) {
	h := newHub(t)
	keep := hub.Message{App: "app", Channel: "a", Event: "e", Data: json.RawMessage("1"), Keep: hub.Keep{Messages: 10, Age: time.Minute}}
	first, err := h.Publish(background, keep)
	if err != nil {
		t.Fatal(err)
	}
	announce(h, "app", "a", "announced")
	second, err := h.Publish(background, keep)
	if err != nil {
		t.Fatal(err)
	}
	if second.Offset != first.Offset+1 {
		t.Errorf("the offsets are %d and %d", first.Offset, second.Offset)
	}
	err = h.Join("app", &inbox{id: "late"}).Subscribe(background, "a", 1, hub.From{Last: 10}, func(s hub.Standing[string]) {
		if got := fmt.Sprint(s.Replayed); got != "[app/a/1 app/a/1]" {
			t.Errorf("replayed %s", got)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnnouncementsAreFlushed(t *testing.T) {
	for _, n := range []int{1, 2, 3000} {
		h := newHub(t)
		var flushes sync.WaitGroup
		for range n {
			flushes.Add(1)
			subscribe(t, h.Join("app", &flushed{&flushes}), "a")
		}
		announce(h, "app", "a", "x")
		flushes.Wait() // panics if one is flushed twice
	}
}

// flushed is a subscriber that reports its flush.
type flushed struct{ *sync.WaitGroup }

func (*flushed) ID() string                 { return "flushed" }
func (f *flushed) Queue(string) hub.Flusher { return f }
func (f *flushed) Flush(*sync.WaitGroup)    { f.Done() }

func TestPanicWhileAnnouncingHoldsNoLock(t *testing.T) {
	h := newHub(t)
	p := &patient{inbox: inbox{id: "patient"}}
	member := h.Join("app", p)
	subscribe(t, member, "c")
	panics(t, func() { h.Announce("app", "c", "", func() (string, bool) { panic("change") }) })
	broken := h.Join("app", bomb{})
	subscribe(t, broken, "c")
	panics(t, func() { announce(h, "app", "c", "1") })
	if p.flushes != 1 {
		t.Errorf("the subscriber that had the announcement was flushed %d times", p.flushes)
	}
	broken.Close()
	announce(h, "app", "c", "2")
	if p.flushes != 2 {
		t.Errorf("after the next announcement: flushed %d times", p.flushes)
	}
	member.Close()
	h.expectEmpty(t)
}

func TestMemberKnowsWhetherItIsInAChannel(t *testing.T) {
	h := newHub(t)
	m := h.Join("app", new(inbox))
	expect := func(when string, want bool) {
		t.Helper()
		if got := m.In("c7"); got != want {
			t.Errorf("%s: In is %t", when, got)
		}
	}
	expect("at first", false)
	for i := range 100 { // with an index, too
		subscribe(t, m, fmt.Sprint("c", i))
	}
	expect("subscribed", true)
	m.Unsubscribe("c7")
	expect("unsubscribed", false)
	subscribe(t, m, "c7")
	m.Close()
	expect("closed", false)
}

// A believer is a subscriber that is told a counter when it joins a channel, and
// its value at each change.
type believer struct {
	t        *testing.T
	mu       sync.Mutex
	believed map[string]int
}

func (*believer) ID() string { return "believer" }

func (b *believer) Queue(payload string) hub.Flusher {
	channel, value, ok := strings.Cut(payload, "=")
	if !ok {
		return nil // a message
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if was, in := b.believed[channel]; !in {
		b.t.Errorf("%s, which it is not in, has become %s", channel, value)
	} else if value != strconv.Itoa(was+1) {
		b.t.Errorf("%s was %d, and has become %s", channel, was, value)
	}
	b.believed[channel]++
	return nil
}

// join subscribes to a channel, or once more to one that it is in already.
func (b *believer) join(m *hub.Member[string], channel string, counter *int) {
	err := m.Subscribe(background, channel, 100, hub.From{}, func(hub.Standing[string]) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if was, in := b.believed[channel]; in && was != *counter {
			b.t.Errorf("%s was %d, and is %d at the next subscribe", channel, was, *counter)
		}
		b.believed[channel] = *counter
	})
	if err != nil {
		b.t.Error(err)
	}
}

func (b *believer) leave(m *hub.Member[string], channel string) {
	m.Unsubscribe(channel)
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.believed, channel)
}

// What a subscriber is told when it joins, and the announcements that it gets,
// are together the state, whatever happens at the same time. Only the hub's
// locks guard the counters.
func TestSnapshotAndAnnouncementsAreTheState(t *testing.T) {
	onEach(t, func(h *testHub) {
		t := h.t
		const workers, members = 4, 4
		channels := []string{"a", "b", "c"}
		counters := make([]int, len(channels))
		steps := h.rounds(100_000) / workers
		var all [workers * members]*believer
		var running, publishers sync.WaitGroup
		var stop atomic.Bool
		publishers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				keep := hub.Keep{Messages: i % 2, Age: time.Minute}
				m := hub.Message{App: "app", Channel: channels[i%len(channels)], Event: "e", Data: json.RawMessage("1"), Keep: keep}
				if _, err := h.Publish(background, m); err != nil {
					t.Error(err)
					return
				}
			}
		})
		for w := range workers {
			mine := all[w*members:][:members]
			var places [members]*hub.Member[string]
			for i := range mine {
				mine[i] = &believer{t: t, believed: make(map[string]int)}
				places[i] = h.Join("app", mine[i])
			}
			running.Go(func() {
				random := rand.New(rand.NewPCG(uint64(w), 18))
				for range steps {
					i, n := random.IntN(members), random.IntN(len(channels))
					switch random.IntN(4) {
					case 0, 1:
						silent := random.IntN(4) == 0
						h.Announce("app", channels[n], "", func() (string, bool) {
							if !silent {
								counters[n]++
							}
							return fmt.Sprintf("%s=%d", channels[n], counters[n]), !silent
						})
					case 2:
						mine[i].join(places[i], channels[n], &counters[n])
					default:
						mine[i].leave(places[i], channels[n])
					}
				}
			})
		}
		running.Wait()
		stop.Store(true)
		publishers.Wait()
		h.settle()
		total := 0
		for _, b := range all {
			for n, channel := range channels {
				if value, in := b.believed[channel]; in && value != counters[n] {
					t.Errorf("%s is %d, but a subscriber believes %d", channel, counters[n], value)
				}
			}
			total += len(b.believed)
		}
		if total != h.Subscriptions() {
			t.Errorf("%d subscriptions, but %d expected", h.Subscriptions(), total)
		}
	})
}

// An early is a subscriber that must get nothing before its answer.
type early struct {
	t        *testing.T
	answered atomic.Bool
}

func (e *early) ID() string { return "early" }

func (e *early) Queue(string) hub.Flusher {
	if !e.answered.Load() {
		e.t.Error("an announcement came before the answer")
	}
	return nil
}

func TestClientThatComesBackGetsItsAnswerBeforeAnnouncements(t *testing.T) {
	h := newHub(t)
	first := &early{t: t}
	first.answered.Store(true)
	m := h.Join("app", first)
	pid := h.Begin(m, "", time.Minute, nil).PID()
	subscribe(t, m, "a")
	subscribe(t, m, "b")
	var announcers sync.WaitGroup
	var stop atomic.Bool
	announcers.Go(func() {
		for !stop.Load() {
			announce(h, "app", "a", "x")
		}
	})
	for range 2000 {
		m.Leave(time.Minute)
		to := &early{t: t}
		var outcome hub.Recovery
		m, outcome = h.Recover(&hub.Return[string]{App: "app", PID: pid, To: to, Answer: func(*hub.Session[string], []string) { to.answered.Store(true) }})
		if outcome != hub.Recovered {
			t.Fatal(outcome)
		}
	}
	stop.Store(true)
	announcers.Wait()
	m.Close()
	h.expectEmpty(t)
}
