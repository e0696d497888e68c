package hub_test

import (
	"sync"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// panics fails the test unless do panics.
func panics(t *testing.T, do func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("it did not panic")
		}
	}()
	do()
}

// bomb is a subscriber that panics when it is handed a message.
type bomb struct{}

func (bomb) ID() string               { return "bomb" }
func (bomb) Queue(string) hub.Flusher { panic("bomb") }

// patient is a subscriber that waits for its flush.
type patient struct {
	inbox
	flushes int
}

func (p *patient) Queue(payload string) hub.Flusher {
	p.inbox.Queue(payload)
	return p
}

func (p *patient) Flush(*sync.WaitGroup) { p.flushes++ }

func TestPanicOfOneHoldsNoLockOfOthers(t *testing.T) {
	h := newHub(t)
	h.Configure(hub.Limits{Ahead: 1 << 10})
	p := &patient{inbox: inbox{id: "patient"}}
	waits := h.Join("app", p)
	subscribe(t, waits, "c")

	broken := h.Join("app", bomb{})
	panics(t, func() {
		_ = broken.Subscribe(background, "c", 10, hub.From{}, func(hub.Standing[string]) { panic("answer") })
	})
	panics(t, func() { publish(t, h, "app", "c", "1") })
	if p.flushes != 1 {
		t.Errorf("who had got the message was flushed %d times", p.flushes)
	}
	broken.Close() // when its session ends
	if r := publish(t, h, "app", "c", "2"); r.Subscribers != 1 || len(p.all()) != 2 || p.flushes != 2 {
		t.Errorf("the next message reached %d, %v, flushed %d times", r.Subscribers, p.all(), p.flushes)
	}
	waits.Close()
	h.expectEmpty(t)
}
