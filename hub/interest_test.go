package hub_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// asked is an Interested broker whose answers the test provides.
type asked struct {
	hub.Broker
	calls chan interestCall
}

type interestCall struct {
	ctx    context.Context
	on     bool
	answer chan error
}

func newAsked() *asked { return &asked{hub.NewMemory(), make(chan interestCall)} }

func (a *asked) Interest(ctx context.Context, _, _ string, on bool) error {
	call := interestCall{ctx, on, make(chan error)}
	a.calls <- call
	return <-call.answer
}

func (*asked) Sync(context.Context, string) error { return nil }

// next returns the next call, which must match.
func (a *asked) next(t *testing.T, on bool) interestCall {
	t.Helper()
	call := <-a.calls
	if call.on != on {
		t.Fatalf("the broker is told %t, want %t", call.on, on)
	}
	return call
}

func TestSubscriberIsNotRefusedBecauseAnotherGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := newAsked()
		h := newHubOn(t, broker, func() {})
		subscribe := func(ctx context.Context) (*hub.Member[string], chan error) {
			m, ended := h.Join("app", discard{}), make(chan error, 1)
			go func() { ended <- m.Subscribe(ctx, "c", 1, hub.From{}, func(hub.Standing[string]) {}) }()
			return m, ended
		}
		ctx, cancel := context.WithCancel(t.Context())
		_, first := subscribe(ctx)
		call := broker.next(t, true)
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Fatalf("who gave up got %v", err)
		}
		<-call.ctx.Done()
		m, second := subscribe(t.Context())
		synctest.Wait()
		call.answer <- call.ctx.Err()
		select {
		case again := <-broker.calls:
			again.answer <- nil
		case err := <-second:
			t.Fatalf("who came meanwhile got %v", err)
		}
		if err := <-second; err != nil {
			t.Errorf("who came meanwhile got %v", err)
		}
		m.Close()
		broker.next(t, false).answer <- nil
	})
}

// A Subscribe without waiting used to check first and subscribe afterwards: if
// the channel's last subscriber left in between, it waited anyway.
func TestTryingToSubscribeNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := newAsked()
		h := newHubOn(t, broker, func() {})
		m, other := h.Join("app", discard{}), h.Join("app", discard{})
		try := func(want bool) {
			t.Helper()
			if done, err := m.TrySubscribe("c", 1, hub.From{}, func(hub.Standing[string]) {}); done != want || err != nil {
				t.Fatalf("done %t, %v; want %t", done, err, want)
			}
		}
		try(false) // the broker knows of no subscriber
		ended := make(chan error)
		go func() { ended <- other.Subscribe(t.Context(), "c", 1, hub.From{}, func(hub.Standing[string]) {}) }()
		call := broker.next(t, true)
		try(false)
		call.answer <- nil
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		try(true)
		try(true) // already subscribed
		if done, err := m.TrySubscribe("d", 1, hub.From{}, func(hub.Standing[string]) {}); !done || !errors.Is(err, hub.ErrTooMany) {
			t.Errorf("one more than the limit: %t, %v", done, err)
		}
		other.Close()
		m.Unsubscribe("c")
		call = broker.next(t, false)
		try(false) // while interest is being withdrawn
		call.answer <- nil
		m.Close()
		if done, err := m.TrySubscribe("c", 1, hub.From{}, func(hub.Standing[string]) {}); !done || !errors.Is(err, hub.ErrClosed) {
			t.Errorf("after Close: %t, %v", done, err)
		}
	})
}
