package hub

import "context"

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
	if c := h.locate(&m); c != nil {
		if err := c.admit(ctx, &m, h.ahead.Load()); err != nil {
			return Receipt{}, err
		}
		defer c.settle()
	}
	if err := h.broker.Publish(ctx, []*Message{&m}); err != nil {
		return Receipt{}, err
	}
	return Receipt{m.ID(), m.Offset, m.Subscribers}, nil
}

// PublishAll is Publish for several messages of one app: all are accepted, in
// order, or none.
func (h *Hub[P]) PublishAll(ctx context.Context, all []Message) ([]Receipt, error) {
	limit := h.ahead.Load()
	messages := make([]*Message, len(all))
	for i := range all {
		m := &all[i]
		if c := h.locate(m); c != nil {
			if err := c.await(ctx, m, limit); err != nil {
				return nil, err
			}
		}
		messages[i] = m
	}
	// Only now: a message must not wait for one of its own batch.
	for _, m := range messages {
		if c, ok := m.channel.(*channel[P]); ok {
			c.mu.Lock()
			c.count(m)
			c.mu.Unlock()
			defer c.settle()
		}
	}
	if err := h.broker.Publish(ctx, messages); err != nil {
		return nil, err
	}
	receipts := make([]Receipt, len(all))
	for i, m := range messages {
		receipts[i] = Receipt{m.ID(), m.Offset, m.Subscribers}
	}
	return receipts, nil
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
