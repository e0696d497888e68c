package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// A relayed is what a machine gets of the clients of others.
type relayed struct {
	mu  sync.Mutex // guards got
	got []*hub.Message
}

// relayTo has a machine note what is relayed to it.
func relayTo(m *node) *relayed {
	r := new(relayed)
	m.Relayed(func(m *hub.Message) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, m)
	})
	return r
}

// events returns the names of what a machine got.
func (r *relayed) events() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.got {
		names = append(names, m.Event)
	}
	return names
}

func TestRelayedEventsReachTheOtherMachinesOfTheirChannel(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	one, other, third := newNode(t, s.url(), "", "a", leaseTime), newNode(t, s.url(), "", "b", leaseTime), newNode(t, s.url(), "", "c", leaseTime)
	all := []*relayed{relayTo(one), relayTo(other), relayTo(third)}
	one.subscribe("app", "room")
	other.subscribe("app", "room")
	third.subscribe("app", "another")
	sent := []*hub.Message{
		{App: "app", Channel: "room", Event: "client-a", Data: []byte("{\"x\":\"\\u0000\n\"}"), Except: "sid"},
		{App: "app", Channel: "room", Event: "client-b"},
		{App: "app", Channel: "another", Event: "client-c", Data: []byte("null")},
	}
	for _, m := range sent {
		if err := one.Relay(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	one.publish(message("app", "room", "after them"), message("app", "another", "after them"))
	for _, m := range []*node{one, other, third} {
		until(t, "the message arrives", func() bool { return len(m.delivered("app")) == 1 })
	}
	for i, want := range [][]*hub.Message{nil, sent[:2], sent[2:]} {
		if got := all[i].got; !reflect.DeepEqual(got, want) {
			t.Errorf("machine %d got %+v", i, got)
		}
	}
}

func TestRelayedEventsAreNotLostWhileAMachineCatchesUp(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	one, other := newNode(t, s.url(), "", "a", leaseTime), newNode(t, s.url(), "", "b", leaseTime)
	got := relayTo(other)
	one.subscribe("app", "room")
	other.subscribe("app", "room")
	var want []string
	for i := range 20 {
		name := fmt.Sprint("client-", i)
		one.publish(message("app", "room", name))
		if err := one.Relay(t.Context(), &hub.Message{App: "app", Channel: "room", Event: name}); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
		a := other.app("app")
		a.mu.Lock()
		a.behind = true
		a.start()
		a.mu.Unlock()
	}
	until(t, "all arrive", func() bool { return len(got.events()) >= len(want) && len(other.delivered("app")) == len(want) })
	if events := got.events(); !reflect.DeepEqual(events, want) {
		t.Errorf("%v", events)
	}
}

func TestRelayIsRefusedWithoutRedis(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	m := newNode(t, s.url(), "", "a", leaseTime)
	s.kill()
	if err := m.Relay(t.Context(), &hub.Message{App: "app", Channel: "room", Event: "client-a"}); err == nil {
		t.Error("it is accepted")
	}
}

// The network carries some 1.6 MB a second, so what was sent at once would take 16 s.
func TestRelayedEventsOfAnAppDoNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	m := newNode(t, s.through(10*time.Millisecond).url(), "", "a", leaseTime)
	m.publish(message("app", "room", "first"), message("another", "room", "first"))
	ctx, cancel := context.WithCancel(t.Context())
	var relaying sync.WaitGroup
	defer relaying.Wait()
	defer cancel()
	event := &hub.Message{App: "app", Channel: "room", Event: "client-a", Data: bytes.Repeat([]byte("1"), 64<<10)}
	for range 400 {
		relaying.Go(func() { _ = m.Relay(ctx, event) })
	}
	until(t, "they wait", func() bool { return m.app("app").relays.bytes.Load() > 20<<20 })
	for range 3 {
		if err := m.Publish(t.Context(), []*hub.Message{message("another", "room", "event")}); err != nil {
			t.Error(err)
		}
	}
}

func TestRelayedEventsThatWaitAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRelays()
		var waiting sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		first, err := r.enter(ctx, maxToRelay/2-relaySize) // it is more than may be sent at a time
		if err != nil {
			t.Fatal(err)
		}
		waiting.Go(func() {
			if _, err := r.enter(ctx, maxToRelay/2-relaySize); !errors.Is(err, context.Canceled) {
				t.Errorf("the one that waits: %v", err)
			}
		})
		synctest.Wait()
		if _, err := r.enter(ctx, 0); !errors.Is(err, errRelays) {
			t.Errorf("one more: %v", err)
		}
		cancel()
		waiting.Wait()
		first()
		release, err := r.enter(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		release()
		if n := r.bytes.Load(); n != 0 {
			t.Errorf("%d bytes are counted", n)
		}
	})
}
