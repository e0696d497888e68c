package hub_test

import (
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

// inbox is a subscriber that keeps what it gets.
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

func newHub() *hub.Hub[string] {
	return hub.New(hub.NewMemory(), func(m *hub.Message) string {
		return m.App + "/" + m.Channel + "/" + string(m.Data)
	})
}

func subscribe(t *testing.T, m *hub.Member[string], channel string) {
	t.Helper()
	if err := m.Subscribe(channel, 1000, func() {}); err != nil {
		t.Fatalf("subscribe to %s: %v", channel, err)
	}
}

func publish(t *testing.T, h *hub.Hub[string], app, channel, data string) hub.Receipt {
	t.Helper()
	receipt, err := h.Publish(hub.Message{App: app, Channel: channel, Event: "e", Data: json.RawMessage(data)})
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	return receipt
}

func expectEmpty(t *testing.T, h *hub.Hub[string]) {
	t.Helper()
	if c, s := h.Channels(), h.Subscriptions(); c != 0 || s != 0 {
		t.Errorf("%d channels and %d subscriptions are left", c, s)
	}
}

func TestMessageReachesItsAppsChannelOnly(t *testing.T) {
	h := newHub()
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
		if got := box.all(); !slices.Equal(got, want[key]) {
			t.Errorf("%s got %v, want %v", key, got, want[key])
		}
	}
}

func TestAllSubscribersSeeOneOrder(t *testing.T) {
	h := newHub()
	boxes := make([]*inbox, 20)
	for i := range boxes {
		boxes[i] = new(inbox)
		subscribe(t, h.Join("app", boxes[i]), "c")
	}
	var publishers sync.WaitGroup
	var mu sync.Mutex
	offsets := make(map[uint64]string)
	ids := make(map[string]bool)
	for p := range 8 {
		publishers.Go(func() {
			for i := range 500 {
				data := fmt.Sprintf("%d.%d", p, i)
				r := publish(t, h, "app", "c", data)
				mu.Lock()
				offsets[r.Offset] = "app/c/" + data
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
		if !slices.Equal(box.all(), accepted) {
			t.Fatalf("subscriber %d saw another order than that of the offsets", i)
		}
	}
}

func TestSubscribingTwiceDeliversOnce(t *testing.T) {
	h, box := newHub(), new(inbox)
	m := h.Join("app", box)
	answers := 0
	for range 2 {
		if err := m.Subscribe("c", 1, func() { answers++ }); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, h, "app", "c", "1")
	if got := box.all(); len(got) != 1 || answers != 2 {
		t.Errorf("got %v and %d answers, want one message and two answers", got, answers)
	}
}

func TestAnswerToSubscribeComesBeforeTheFirstMessage(t *testing.T) {
	h := newHub()
	var stop atomic.Bool
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for !stop.Load() {
			publish(t, h, "app", "c", "1")
		}
	})
	for range 2_000 {
		box := new(inbox)
		m := h.Join("app", box)
		if err := m.Subscribe("c", 1, func() { box.Queue("subscribed") }); err != nil {
			t.Fatal(err)
		}
		publish(t, h, "app", "c", "2")
		m.Close()
		if got := box.all(); got[0] != "subscribed" || slices.Contains(got[1:], "subscribed") {
			t.Fatalf("got %v", got)
		}
	}
	stop.Store(true)
	publisher.Wait()
	expectEmpty(t, h)
}

func TestOneChannelTooManyIsRefused(t *testing.T) {
	h := newHub()
	m := h.Join("app", new(inbox))
	for i := range 3 {
		if err := m.Subscribe(fmt.Sprint(i), 3, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Subscribe("3", 3, func() {}); !errors.Is(err, hub.ErrTooMany) {
		t.Errorf("a fourth channel of three: %v", err)
	}
	if err := m.Subscribe("2", 3, func() {}); err != nil {
		t.Errorf("a channel it is in: %v", err)
	}
	if !m.Unsubscribe("1") || m.Unsubscribe("1") {
		t.Error("unsubscribe is not true once")
	}
	subscribe(t, m, "3")
	m.Close()
	if err := m.Subscribe("4", 3, func() {}); !errors.Is(err, hub.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	expectEmpty(t, h)
}

// F7 of the notes on other servers: a subscriber that goes while it
// subscribes stayed in the channel for ever.
func TestSubscriberThatGoesWhileItSubscribesIsInNoChannel(t *testing.T) {
	h := newHub()
	var wg sync.WaitGroup
	for range 2_000 {
		m := h.Join("app", new(inbox))
		for i := range 3 {
			wg.Go(func() { _ = m.Subscribe(fmt.Sprint(i%2), 100, func() {}) })
		}
		wg.Go(func() { m.Unsubscribe("0") })
		wg.Go(m.Close)
	}
	wg.Wait()
	expectEmpty(t, h)
}

// F7 too: a join while the last member leaves went into a room that was no
// longer there.
func TestJoinWhileTheLastLeavesIsNotLost(t *testing.T) {
	h := newHub()
	var stop atomic.Bool
	var churn sync.WaitGroup
	for range 4 {
		churn.Go(func() {
			for !stop.Load() {
				m := h.Join("app", new(inbox))
				_ = m.Subscribe("c", 1, func() {})
				m.Close()
			}
		})
	}
	for i := range 20_000 {
		box := new(inbox)
		m := h.Join("app", box)
		subscribe(t, m, "c")
		publish(t, h, "app", "c", fmt.Sprint(i))
		if got := box.all(); len(got) != 1 {
			t.Fatalf("round %d: got %v, want one message", i, got)
		}
		m.Close()
	}
	stop.Store(true)
	churn.Wait()
	expectEmpty(t, h)
}

func TestMessageWithoutSubscribersIsNotEncoded(t *testing.T) {
	h := hub.New(hub.NewMemory(), func(*hub.Message) string {
		t.Error("encoded")
		return ""
	})
	if r, err := h.Publish(hub.Message{App: "app", Channel: "c"}); err != nil || r.Subscribers != 0 || r.Offset != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, subscribers := range []int{0, 1, 1000} {
		b.Run(fmt.Sprint(subscribers), func(b *testing.B) {
			h := hub.New(hub.NewMemory(), func(*hub.Message) string { return "" })
			for range subscribers {
				if err := h.Join("app", discard{}).Subscribe("c", 1, func() {}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = h.Publish(hub.Message{App: "app", Channel: "c", Event: "e"})
				}
			})
		})
	}
}

type discard struct{}

func (discard) ID() string { return "" }

func (discard) Queue(string) hub.Flusher { return nil }

func BenchmarkSubscribe(b *testing.B) {
	h := newHub()
	for b.Loop() {
		m := h.Join("app", discard{})
		_ = m.Subscribe("c", 1, func() {})
		m.Close()
	}
}

func TestMessageLeavesOutOneSubscriber(t *testing.T) {
	h := newHub()
	boxes := map[string]*inbox{"a": {id: "a"}, "b": {id: "b"}, "": {}}
	for _, box := range boxes {
		subscribe(t, h.Join("app", box), "c")
	}
	for except, want := range map[string]int{"": 3, "a": 2, "nobody": 3} {
		receipt, err := h.Publish(hub.Message{App: "app", Channel: "c", Event: "e", Except: except})
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
	h := newHub()
	for range 100 {
		id := publish(t, h, "app", "c", "1").ID
		if len(id) > 32 || strings.ContainsAny(id, "/+= ") {
			t.Fatalf("id %q", id)
		}
	}
}

func TestManyChannelsLeaveNoMemoryBehind(t *testing.T) {
	const many = 100_000
	h := newHub()
	stays := h.Join("app", &inbox{id: "stays"})
	defer stays.Close()
	for i := range 100 {
		subscribe(t, stays, fmt.Sprint("kept.", i))
	}
	before := heap()
	for range 2 {
		m := h.Join("app", &inbox{id: "goes"})
		for i := range many {
			if err := m.Subscribe(fmt.Sprint("ch.", i), many, func() {}); err != nil {
				t.Fatal(err)
			}
		}
		m.Close()
	}
	if left := heap() - before; left > 8*many { // the maps that held them had 65 for each
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

// heap is what is in use, in bytes.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools keep things for one more
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
