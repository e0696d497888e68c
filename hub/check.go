package hub

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
)

// Check delivers a message to a subscriber of its own, in an app that cannot be,
// and fails if it does not arrive.
func (h *Hub[P]) Check(ctx context.Context) error {
	p, channel := new(probe[P]), rand.Text()
	member := h.Join("", p)
	defer member.Close()
	if err := member.Subscribe(ctx, channel, 1, func() {}); err != nil {
		return err
	}
	receipt, err := h.Publish(ctx, Message{Channel: channel, Event: "health"})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if receipt.Subscribers != 1 || p.got != 1 {
		return fmt.Errorf("a message for one subscriber was queued for %d and arrived %d times", receipt.Subscribers, p.got)
	}
	return nil
}

// A probe is a subscriber that counts what it gets.
type probe[P any] struct {
	mu  sync.Mutex // guards got
	got int
}

// ID implements Subscriber.
func (*probe[P]) ID() string { return "" }

// Queue implements Subscriber.
func (p *probe[P]) Queue(P) Flusher {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got++
	return nil
}
