package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

var background = context.Background()

// inbox is a subscriber that keeps what it receives.
type inbox struct {
	id  string
	mu  sync.Mutex
	got []string
}

func (b *inbox) ID() string { return b.id }

func (b *inbox) Queue(payload string) hub.Flusher {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, payload)
	return nil
}

func (b *inbox) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got)
}

// A testHub is a hub on one of the brokers.
type testHub struct {
	*hub.Hub[string]
	t       *testing.T // the hub's test; nil in a benchmark
	awkward bool

	// settle waits until everything published has been delivered.
	settle func()
}

// got returns what a subscriber has received of what was published.
func (h *testHub) got(b *inbox) []string {
	h.settle()
	return b.all()
}

// rounds returns how often a test repeats something, because an awkward broker
// takes its time.
func (h *testHub) rounds(n int) int {
	if h.awkward {
		return n / 10
	}
	return n
}

// expectEmpty fails the test if a channel or a subscription is left.
func (h *testHub) expectEmpty(t *testing.T) {
	t.Helper()
	if c, s := h.Channels(), h.Subscriptions(); c != 0 || s != 0 {
		t.Errorf("%d channels and %d subscriptions are left", c, s)
	}
}

// newHub creates a hub on the memory broker.
func newHub(tb testing.TB) *testHub {
	tb.Helper()
	return newHubOn(tb, hub.NewMemory(), func() {})
}

func newHubOn(tb testing.TB, broker hub.Broker, settle func()) *testHub {
	tb.Helper()
	h, err := hub.New(broker, hub.Codec[string]{
		Encode: func(m *hub.Message) string {
			if m.Event == identified {
				return m.ID() + " " + m.Channel
			}
			return m.App + "/" + m.Channel + "/" + string(m.Data)
		},
		Text:    func(s string) []byte { return []byte(s) },
		Payload: func(text []byte, _ string) (string, error) { return string(text), nil },
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := h.Close(); err != nil {
			tb.Error(err)
		}
	})
	t, _ := tb.(*testing.T)
	_, awkward := broker.(*awkward)
	return &testHub{h, t, awkward, settle}
}

// identified is the event of messages whose payload begins with their ID.
const identified = "identified"

// onEach runs a test on each broker: the memory broker, an awkward one, and an
// awkward one that other hubs share.
func onEach(t *testing.T, test func(h *testHub)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { test(newHub(t)) })
	for name, others := range map[string]int{"awkward": 0, "awkward with others": 2} {
		t.Run(name, func(t *testing.T) {
			net := new(network)
			for range others {
				newHubOn(t, net.join(), net.settle)
			}
			h := newHubOn(t, net.join(), net.settle)
			test(h)
			h.settle()
		})
	}
}

func subscribe(t *testing.T, m *hub.Member[string], channel string) {
	t.Helper()
	if err := m.Subscribe(background, channel, 1000, hub.From{}, func(hub.Standing[string]) {}); err != nil {
		t.Fatalf("subscribe to %s: %v", channel, err)
	}
}

func publish(t *testing.T, h *testHub, app, channel, data string) hub.Receipt {
	t.Helper()
	receipt, err := h.Publish(background, hub.Message{App: app, Channel: channel, Event: "e", Data: json.RawMessage(data)})
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	return receipt
}

func TestMessageReachesItsAppsChannelOnly(t *testing.T) {
	onEach(t, func(h *testHub) {
		t := h.t
		apps, channels := 100, []string{"orders", "orders.42", "a"}
		boxes := make(map[string]*inbox)
		for i := range apps {
			for _, channel := range channels {
				app := fmt.Sprint("app_", i)
				box := new(inbox)
				boxes[app+"/"+channel] = box
				subscribe(t, h.Join(app, box), channel)
			}
		}
		want := make(map[string][]string)
		for i := range 10_000 {
			app, channel := fmt.Sprint("app_", rand.IntN(apps)), channels[rand.IntN(len(channels))]
			data := fmt.Sprint(i)
			if r := publish(t, h, app, channel, data); r.Subscribers != 1 {
				t.Fatalf("%d subscribers, want 1", r.Subscribers)
			}
			key := app + "/" + channel
			want[key] = append(want[key], key+"/"+data)
		}
		for key, box := range boxes {
			if got := h.got(box); !slices.Equal(got, want[key]) {
				t.Errorf("%s got %v, want %v", key, got, want[key])
			}
		}
	})
}

func TestAllSubscribersSeeOneOrderAcrossChannels(t *testing.T) {
	onEach(t, func(h *testHub) {
		t := h.t
		boxes := make([]*inbox, 20)
		for i := range boxes {
			boxes[i] = new(inbox)
			m := h.Join("app", boxes[i])
			for channel := range 4 {
				subscribe(t, m, fmt.Sprint("c", channel))
			}
		}
		var publishers sync.WaitGroup
		var mu sync.Mutex
		offsets := make(map[uint64]string)
		ids := make(map[string]bool)
		for p := range 16 {
			publishers.Go(func() {
				for i := range 250 {
					data := fmt.Sprintf("%d.%d", p, i)
					channel := fmt.Sprint("c", i%4)
					r := publish(t, h, "app", channel, data)
					mu.Lock()
					offsets[r.Offset] = "app/" + channel + "/" + data
					ids[r.ID] = true
					mu.Unlock()
				}
			})
		}
		publishers.Wait()
		if len(ids) != 4000 {
			t.Errorf("%d different ids, want 4000", len(ids))
		}
		accepted := make([]string, 0, len(offsets))
		for i := range uint64(4000) {
			accepted = append(accepted, offsets[i+1])
		}
		for i, box := range boxes {
			if !slices.Equal(h.got(box), accepted) {
				t.Fatalf("subscriber %d saw another order than that of the offsets", i)
			}
		}
	})
}

func TestSubscribingTwiceDeliversOnce(t *testing.T) {
	onEach(t, func(h *testHub) {
		t := h.t
		box := new(inbox)
		m := h.Join("app", box)
		answers := 0
		for range 2 {
			if err := m.Subscribe(background, "c", 1, hub.From{}, func(hub.Standing[string]) { answers++ }); err != nil {
				t.Fatal(err)
			}
		}
		publish(t, h, "app", "c", "1")
		if got := h.got(box); len(got) != 1 || answers != 2 {
			t.Errorf("got %v and %d answers, want one message and two answers", got, answers)
		}
	})
}

func TestAnswerToSubscribeComesBeforeTheFirstMessage(t *testing.T) {
	onEach(t, func(h *testHub) {
		t := h.t
		var stop atomic.Bool
		var publisher sync.WaitGroup
		publisher.Go(func() {
			for !stop.Load() {
				publish(t, h, "app", "c", "1")
			}
		})
		for range h.rounds(2_000) {
			box := new(inbox)
			m := h.Join("app", box)
			if err := m.Subscribe(background, "c", 1, hub.From{}, func(hub.Standing[string]) { box.Queue("subscribed") }); err != nil {
				t.Fatal(err)
			}
			publish(t, h, "app", "c", "2")
			m.Close()
			if got := h.got(box); got[0] != "subscribed" || slices.Contains(got[1:], "subscribed") {
				t.Fatalf("got %v", got)
			}
		}
		stop.Store(true)
		publisher.Wait()
		h.expectEmpty(t)
	})
}

func TestOneChannelTooManyIsRefused(t *testing.T) {
	onEach(t, func(h *testHub) {
		t := h.t
		m := h.Join("app", new(inbox))
		for i := range 3 {
			if err := m.Subscribe(background, fmt.Sprint(i), 3, hub.From{}, func(hub.Standing[string]) {}); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Subscribe(background, "3", 3, hub.From{}, func(hub.Standing[string]) {}); !errors.Is(err, hub.ErrTooMany) {
			t.Errorf("a fourth channel of three: %v", err)
		}
		if err := m.Subscribe(background, "2", 3, hub.From{}, func(hub.Standing[string]) {}); err != nil {
			t.Errorf("a channel it is in: %v", err)
		}
		if !m.Unsubscribe("1") || m.Unsubscribe("1") {
			t.Error("unsubscribe is not true once")
		}
		subscribe(t, m, "3")
		m.Close()
		if err := m.Subscribe(background, "4", 3, hub.From{}, func(hub.Standing[string]) {}); !errors.Is(err, hub.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		h.expectEmpty(t)
	})
}

// F7 of the notes on other servers: a subscriber that left while it subscribed
// stayed in the channel forever.
func TestSubscriberThatGoesWhileItSubscribesIsInNoChannel(t *testing.T) {
	onEach(t, func(h *testHub) {
		t := h.t
		var wg sync.WaitGroup
		for range h.rounds(2_000) {
			m := h.Join("app", new(inbox))
			for i := range 3 {
				wg.Go(func() { _ = m.Subscribe(background, fmt.Sprint(i%2), 100, hub.From{}, func(hub.Standing[string]) {}) })
			}
			wg.Go(func() { m.Unsubscribe("0") })
			wg.Go(m.Close)
		}
		wg.Wait()
		h.expectEmpty(t)
	})
}

// F7 too: a join while the last member leaves went into a room that no longer
// existed.
func TestJoinWhileTheLastLeavesIsNotLost(t *testing.T) {
	onEach(t, func(h *testHub) {
		t := h.t
		var stop atomic.Bool
		var churn sync.WaitGroup
		for range 4 {
			churn.Go(func() {
				for !stop.Load() {
					m := h.Join("app", new(inbox))
					_ = m.Subscribe(background, "c", 1, hub.From{}, func(hub.Standing[string]) {})
					m.Close()
				}
			})
		}
		for i := range h.rounds(20_000) {
			box := new(inbox)
			m := h.Join("app", box)
			subscribe(t, m, "c")
			publish(t, h, "app", "c", fmt.Sprint(i))
			if got := h.got(box); len(got) != 1 {
				t.Fatalf("round %d: got %v, want one message", i, got)
			}
			m.Close()
		}
		stop.Store(true)
		churn.Wait()
		h.expectEmpty(t)
	})
}

func TestMessageThatNobodyGetsIsNotEncoded(t *testing.T) {
	h, err := hub.New(hub.NewMemory(), hub.Codec[string]{Encode: func(*hub.Message) string {
		t.Error("encoded")
		return ""
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	if r, err := h.Publish(background, hub.Message{App: "app", Channel: "c"}); err != nil || r.Subscribers != 0 || r.Offset != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, subscribers := range []int{0, 1, 1000} {
		b.Run(fmt.Sprint(subscribers), func(b *testing.B) {
			h := newHub(b)
			for range subscribers {
				if err := h.Join("app", discard{}).Subscribe(background, "c", 1, hub.From{}, func(hub.Standing[string]) {}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = h.Publish(background, hub.Message{App: "app", Channel: "c", Event: "e"})
				}
			})
		})
	}
}

type discard struct{}

func (discard) ID() string { return "" }

func (discard) Queue(string) hub.Flusher { return nil }

func BenchmarkSubscribe(b *testing.B) {
	h := newHub(b)
	for b.Loop() {
		m := h.Join("app", discard{})
		_ = m.Subscribe(background, "c", 1, hub.From{}, func(hub.Standing[string]) {})
		m.Close()
	}
}

func TestMessageLeavesOutOneSubscriber(t *testing.T) {
	h := newHub(t)
	boxes := map[string]*inbox{"a": {id: "a"}, "b": {id: "b"}, "": {}}
	for _, box := range boxes {
		subscribe(t, h.Join("app", box), "c")
	}
	for except, want := range map[string]int{"": 3, "a": 2, "nobody": 3} {
		receipt, err := h.Publish(background, hub.Message{App: "app", Channel: "c", Event: "e", Except: except})
		if err != nil || receipt.Subscribers != want {
			t.Errorf("except %q: %+v, %v", except, receipt, err)
		}
	}
	for id, want := range map[string]int{"a": 2, "b": 3, "": 3} {
		if n := len(boxes[id].all()); n != want {
			t.Errorf("%q got %d messages, not %d", id, n, want)
		}
	}
}

func TestIdsAreShortAndPlain(t *testing.T) {
	onEach(t, func(h *testHub) {
		t := h.t
		for range 100 {
			id := publish(t, h, "app", "c", "1").ID
			if len(id) > 32 || strings.ContainsAny(id, "/+= ") {
				t.Fatalf("id %q", id)
			}
		}
	})
}

func TestManyChannelsLeaveNoMemoryBehind(t *testing.T) {
	const many = 100_000
	h := newHub(t)
	stays := h.Join("app", &inbox{id: "stays"})
	defer stays.Close()
	for i := range 100 {
		subscribe(t, stays, fmt.Sprint("kept.", i))
	}
	before := heap()
	for range 2 {
		m := h.Join("app", &inbox{id: "goes"})
		for i := range many {
			if err := m.Subscribe(background, fmt.Sprint("ch.", i), many, hub.From{}, func(hub.Standing[string]) {}); err != nil {
				t.Fatal(err)
			}
		}
		m.Close()
	}
	if left := heap() - before; left > 8*many { // the maps that held them took 65 for each
		t.Errorf("%d bytes are left of %d channels", left, many)
	}
	if n := h.Channels(); n != 100 {
		t.Errorf("%d channels, want 100", n)
	}
	for i := range 100 {
		if got := publish(t, h, "app", fmt.Sprint("kept.", i), "1"); got.Subscribers != 1 {
			t.Fatalf("kept.%d has %d subscribers", i, got.Subscribers)
		}
	}
}

// heap returns the memory in use, in bytes.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools keep things for one more collection
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
