package hub

import (
	"context"

	"github.com/seed-c079cc48/caddy-realtime/internal/idempotent"
)

// Receipt is what the publisher of a message learns.
type Receipt struct {
	ID          string
	Offset      uint64
	Subscribers int // as far as known when the message was accepted
}

// Publish makes the broker carry a message to every subscriber of its channel.
// It waits while the channel is too far ahead of its subscribers' flushes (see
// Limits), but never for a single subscriber. m.Data can be reused once it has
// returned. ctx bounds both that wait and the broker's time. After Close, the
// error is ErrStopped if the broker is Local.
func (h *Hub[P]) Publish(ctx context.Context, m Message) (Receipt, error) {
	var o Outcome
	if err := h.sendOne(ctx, []*Message{&m}, &Terms{}, &o); err != nil {
		return Receipt{}, err
	}
	return m.receipt(), nil
}

// PublishAll is Publish for several messages of one app: all are accepted, in
// order, or none.
func (h *Hub[P]) PublishAll(ctx context.Context, all []Message) ([]Receipt, error) {
	receipts, _, err := h.AdmitAll(ctx, all, Terms{})
	return receipts, err
}

// Admit is Publish on terms. Its errors are also those of Admitter, and
// ErrIdempotencyInProgress.
func (h *Hub[P]) Admit(ctx context.Context, m Message, t Terms) (Receipt, Outcome, error) {
	o, err := h.admit(ctx, []*Message{&m}, &t)
	if err != nil {
		return Receipt{}, o, err
	}
	return m.receipt(), o, nil
}

// AdmitAll is Admit for several messages of one app: all are accepted, in order, or
// none.
func (h *Hub[P]) AdmitAll(ctx context.Context, all []Message, t Terms) ([]Receipt, Outcome, error) {
	messages := make([]*Message, len(all))
	for i := range all {
		messages[i] = &all[i]
	}
	o, err := h.admit(ctx, messages, &t)
	if err != nil {
		return nil, o, err
	}
	receipts := make([]Receipt, len(all))
	for i, m := range messages {
		receipts[i] = m.receipt()
	}
	return receipts, o, nil
}

func (m *Message) receipt() Receipt { return Receipt{m.ID(), m.Offset, m.Subscribers} }

// admit publishes on terms. Those of this machine are applied before it waits for
// anything, those of the broker after that, with the publish.
func (h *Hub[P]) admit(ctx context.Context, all []*Message, t *Terms) (o Outcome, err error) {
	if h.admitter != nil {
		err = h.send(ctx, all, t, &o)
		return o, err
	}
	claim, err := h.gate.enter(all, t, &o)
	switch {
	case err != nil || o.Replayed:
	case t.Key.Value == "":
		err = h.send(ctx, all, t, &o)
	default:
		err = h.sendOnce(ctx, all, t, claim)
	}
	return o, err
}

// sendOnce is send with a claim of the gate, which it ends.
func (h *Hub[P]) sendOnce(ctx context.Context, all []*Message, t *Terms, claim idempotent.Claim) error {
	var published []*Message // none after an error or a panic, which frees the key
	defer func() { h.gate.leave(claim, published) }()
	if err := h.send(ctx, all, t, nil); err != nil {
		return err
	}
	published = all
	return nil
}

// send publishes messages once there is room for them in their channels. If the broker
// applies terms, it sets o.
func (h *Hub[P]) send(ctx context.Context, all []*Message, t *Terms, o *Outcome) error {
	if len(all) == 1 {
		return h.sendOne(ctx, all, t, o)
	}
	limit := h.ahead.Load()
	for _, m := range all {
		if c := h.locate(m); c != nil {
			if err := c.await(ctx, m, limit); err != nil {
				return err
			}
		}
	}
	// Only now: a message must not wait for one of its own batch.
	for _, m := range all {
		if c, ok := m.channel.(*channel[P]); ok {
			c.mu.Lock()
			c.count(m)
			c.mu.Unlock()
			defer c.settle()
		}
	}
	return h.carry(ctx, all, t, o)
}

// sendOne is send for a single message.
func (h *Hub[P]) sendOne(ctx context.Context, one []*Message, t *Terms, o *Outcome) error {
	if c := h.locate(one[0]); c != nil {
		if err := c.admit(ctx, one[0], h.ahead.Load()); err != nil {
			return err
		}
		defer c.settle()
	}
	return h.carry(ctx, one, t, o)
}

// carry has the broker publish messages.
func (h *Hub[P]) carry(ctx context.Context, all []*Message, t *Terms, o *Outcome) (err error) {
	if h.admitter == nil {
		return h.broker.Publish(ctx, all)
	}
	*o, err = h.admitter.Admit(ctx, all, *t)
	return err
}

// locate sets the message's stream, and its channel if there is a record of it.
func (h *Hub[P]) locate(m *Message) *channel[P] {
	c := h.find(name{m.App, m.Channel})
	if c != nil {
		m.stream, m.channel = c.stream, c
	} else {
		m.stream = h.stream(m.App)
	}
	return c
}

// Deliver implements Handler.
func (h *Hub[P]) Deliver(m *Message) Delivery {
	s, _ := m.stream.(*stream[P])
	c, _ := m.channel.(*channel[P])
	if s == nil || s.hub != h { // the message comes from another machine
		s, c = h.stream(m.App), nil
	}
	d := s.deliver(m, c)
	if h.delivered != nil && d.Subscribers > 0 {
		h.delivered(m.App, len(m.Data), d.Subscribers)
	}
	h.history.bound()
	return d
}

// deliver is Deliver without the bound of the history. c is the record that the
// message's channel had, or nil.
func (s *stream[P]) deliver(m *Message, c *channel[P]) (d Delivery) {
	h := s.hub
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(m.Position)
	kept := !m.NoHistory && m.Keep.Messages > 0
	for c == nil || !c.enter() { // another record may exist by now
		if kept {
			c = s.channel(m.Channel)
		} else if c = h.find(name{m.App, m.Channel}); c == nil {
			if !m.NoHistory {
				s.raise(m.Offset)
			}
			return Delivery{}
		}
	}
	var w waiting[P]
	whole := false
	defer func() {
		c.mu.Unlock()
		if !whole { // after a panic: flush those that already got the message
			w.delivery(0).Flush()
		}
	}()
	subscribers := len(c.subs)
	if subscribers > 0 || kept {
		payload := h.codec.Encode(m)
		subscribers = c.queue(&w, payload, m.Except)
		if kept {
			c.keep(m, payload)
		}
	}
	if !kept && !m.NoHistory {
		c.skip(m.Offset)
	}
	whole = true
	return w.delivery(subscribers)
}
