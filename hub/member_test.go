package hub_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// A member's channels, and their order, do not depend on how many there are, or
// in which order the member leaves them.
func TestMembersChannelsAreThoseInOrderOfSubscription(t *testing.T) {
	onEach(t, func(h *testHub) {
		t := h.t
		box := new(inbox)
		m := h.Join("app", box)
		var want []string
		random := rand.New(rand.NewPCG(1, 2))
		check := func() {
			t.Helper()
			if got := m.Channels(); !slices.Equal(got, want) || m.Len() != len(want) {
				t.Fatalf("%d channels: %v, want %v", m.Len(), got, want)
			}
			if n := h.Subscriptions(); n != len(want) {
				t.Fatalf("%d subscriptions of %d", n, len(want))
			}
		}
		next := 0
		for _, most := range []int{5, 200, 0, 40, 10, 100, 0, 3, 0} {
			for len(want) != most {
				// Two steps forward and one back, or the other way round.
				for _, subscribes := range []bool{len(want) < most, len(want) > most, len(want) < most} {
					switch {
					case subscribes:
						next++
						want = append(want, fmt.Sprint(next))
						subscribe(t, m, fmt.Sprint(next))
					case len(want) > 0:
						i := random.IntN(len(want))
						channel := want[i]
						want = slices.Delete(want, i, i+1)
						if !m.Unsubscribe(channel) || m.Unsubscribe(channel) {
							t.Fatalf("leaving %s, which is at %d of %d, is not true once", channel, i, len(want)+1)
						}
					}
					check()
					if len(want) == most {
						break
					}
				}
				if len(want) > 0 { // already subscribed
					subscribe(t, m, want[random.IntN(len(want))])
					check()
				}
			}
		}
		for i := range 200 {
			subscribe(t, h.Join("app", discard{}), fmt.Sprint(i%7))
			_ = m.Subscribe(background, fmt.Sprint(i), 1000, hub.From{}, func(hub.Standing[string]) {})
		}
		if err := m.Subscribe(background, "more", m.Len(), hub.From{}, func(hub.Standing[string]) {}); !errors.Is(err, hub.ErrTooMany) {
			t.Errorf("one more than the limit: %v", err)
		}
		for i := range 200 {
			publish(t, h, "app", fmt.Sprint(i), "1")
		}
		if n := len(h.got(box)); n != 200 {
			t.Errorf("%d messages of 200 channels", n)
		}
		m.Close()
		if n := m.Len(); n != 0 || len(m.Channels()) != 0 {
			t.Errorf("in %d channels after Close", n)
		}
		if m.Unsubscribe("1") {
			t.Error("left a channel after Close")
		}
		if n := h.Subscriptions(); n != 200 {
			t.Errorf("%d subscriptions are left, want 200", n)
		}
	})
}

// It used to take time proportional to the member's channels: minutes for this
// many.
func TestSubscribingTakesNoLongerInManyChannels(t *testing.T) {
	h := newHub(t)
	const channels = 100_000
	m := h.Join("app", discard{})
	deadline := time.Now().Add(20 * time.Second) // passes only if the test fails
	for _, step := range []func(channel string){
		func(channel string) {
			_ = m.Subscribe(background, channel, channels, hub.From{}, func(hub.Standing[string]) {})
		},
		func(channel string) { m.Unsubscribe(channel) },
	} {
		for i := range channels {
			step(fmt.Sprint("orders.", i))
			if i%1000 == 0 && time.Now().After(deadline) {
				t.Fatalf("in vain: at %d of %d", i, channels)
			}
		}
	}
	h.expectEmpty(t)
}

// Each step used to take time proportional to the member's channels.
func BenchmarkManyChannels(b *testing.B) {
	for _, n := range []int{10, 1000, 40_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			names := make([]string, n)
			for i := range names {
				names[i] = fmt.Sprint("orders.", i)
			}
			h := newHub(b)
			for b.Loop() {
				m := h.Join("app", discard{})
				for _, name := range names {
					_ = m.Subscribe(background, name, n, hub.From{}, func(hub.Standing[string]) {})
				}
				for _, name := range names {
					m.Unsubscribe(name)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*2*n), "ns/step")
		})
	}
}

// BenchmarkMemberMemory reports the memory that a member in a few channels
// takes.
func BenchmarkMemberMemory(b *testing.B) {
	for _, channels := range []int{0, 1, 3, 1000} {
		b.Run(fmt.Sprint(channels), func(b *testing.B) {
			h := newHub(b)
			members := make([]*hub.Member[string], 0, b.N)
			names := make([]string, channels)
			for i := range names {
				names[i] = fmt.Sprint("c", i)
				_ = h.Join("app", discard{}).Subscribe(background, names[i], 1, hub.From{}, func(hub.Standing[string]) {})
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for range b.N {
				m := h.Join("app", discard{})
				for _, name := range names {
					_ = m.Subscribe(background, name, channels, hub.From{}, func(hub.Standing[string]) {})
				}
				members = append(members, m)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/float64(b.N), "B/member")
			runtime.KeepAlive(members)
		})
	}
}
