package hub

import (
	"context"
	"crypto/rand"
	"fmt"
)

// Check delivers a message to a subscriber that it creates, in an app that
// cannot exist, and fails if the message does not arrive before ctx ends.
func (h *Hub[P]) Check(ctx context.Context) error {
	p, channel := probe[P]{make(chan struct{}, 1)}, rand.Text()
	member := h.Join("", p)
	defer member.Close()
	if err := member.Subscribe(ctx, channel, 1, From{}, func(Standing[P]) {}); err != nil {
		return err
	}
	receipt, err := h.Publish(ctx, Message{Channel: channel, Event: "health"})
	if err != nil {
		return err
	}
	if receipt.Subscribers != 1 {
		return fmt.Errorf("a message for one subscriber was published to %d", receipt.Subscribers)
	}
	select {
	case <-p.arrived:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a message for one subscriber has not arrived: %w", ctx.Err())
	}
}

// A probe is a subscriber that waits for one message.
type probe[P any] struct{ arrived chan struct{} }

// ID implements Subscriber.
func (probe[P]) ID() string { return "" }

// Queue implements Subscriber.
func (p probe[P]) Queue(P) Flusher {
	select {
	case p.arrived <- struct{}{}:
	default:
	}
	return nil
}
