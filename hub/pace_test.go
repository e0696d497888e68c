package hub_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// gated is a subscriber whose flushes wait for a gate, or are left to
// goroutines that wait for the gate before they begin.
type gated struct {
	gate      chan struct{}
	elsewhere bool
}

func (gated) ID() string { return "gated" }

func (g gated) Queue(string) hub.Flusher { return g }

func (g gated) Flush(begun *sync.WaitGroup) {
	if !g.elsewhere {
		<-g.gate
		return
	}
	begun.Go(func() { <-g.gate })
}

func TestPublisherWaitsForFlushesWhenItsChannelIsFarAhead(t *testing.T) {
	for name, elsewhere := range map[string]bool{"flushed at once": false, "flushed by other goroutines": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t)
				h.Configure(hub.Limits{Ahead: 1000})
				gate := make(chan struct{})
				for range 2 { // the publisher itself would flush a single subscriber
					if err := h.Join("app", gated{gate, elsewhere}).Subscribe(background, "c", 1, hub.From{}, func(hub.Standing[string]) {}); err != nil {
						t.Fatal(err)
					}
				}
				large := `"` + strings.Repeat("x", 400) + `"`
				publish(t, h, "app", "c", large)
				publish(t, h, "app", "c", large)
				passed := make(chan time.Duration)
				begin := time.Now()
				go func() {
					publish(t, h, "app", "c", large)
					passed <- time.Since(begin)
				}()
				synctest.Wait()
				publish(t, h, "app", "other", large) // it waits for nobody
				publish(t, h, "another", "c", large)
				time.Sleep(time.Second)
				close(gate)
				if took := <-passed; took < time.Second {
					t.Errorf("the third publish came after %v, before the others were flushed", took)
				}
			})
		})
	}
}

func TestMessageOverTheBoundPassesWhenNothingIsOwed(t *testing.T) {
	h, box := newHub(t), new(inbox)
	h.Configure(hub.Limits{Ahead: 10})
	subscribe(t, h.Join("app", box), "c")
	for range 3 {
		publish(t, h, "app", "c", `"more than ten bytes"`)
	}
	if n := len(box.all()); n != 3 {
		t.Errorf("%d messages arrived", n)
	}
}

// Meanwhile, a slow broker's publishes count as in flight in the channel.
func TestPublisherThatWaitsGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, gate := newHub(t), make(chan struct{})
		h.Configure(hub.Limits{Ahead: 1})
		for range 2 { // the publisher itself would flush a single subscriber
			subscribe(t, h.Join("app", gated{gate, false}), "c")
		}
		publish(t, h, "app", "c", "1")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := h.Publish(ctx, hub.Message{App: "app", Channel: "c", Event: "e"})
			ended <- err
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		default:
			t.Error("it still waits")
		}
		close(gate)
		synctest.Wait()
		if r := publish(t, h, "app", "c", "2"); r.Offset != 2 {
			t.Errorf("the next message has the offset %d, want 2", r.Offset)
		}
	})
}
