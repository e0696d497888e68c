package hub

import (
	"context"
	"sync"
)

// memory is the broker for a single process.
type memory struct {
	handler Handler

	mu     sync.RWMutex // guards everything below
	apps   map[string]*sequence
	closed bool
}

// A sequence numbers the messages of one app.
type sequence struct {
	// mu guards everything below. It is held while a message is queued for all its
	// subscribers, so that each of them gets the app's messages in order.
	mu     sync.Mutex
	last   Position
	closed bool
}

// NewMemory creates a broker for the only hub of a process. Offsets start at 1
// with each broker; IDs are never reused.
func NewMemory() Broker {
	return &memory{apps: make(map[string]*sequence)}
}

// Start implements Broker.
func (b *memory) Start(h Handler) error {
	b.handler = h
	return nil
}

// Publish implements Broker. The messages are queued by the time it returns.
func (b *memory) Publish(_ context.Context, all []*Message) error {
	s := b.sequence(all[0].App)
	var one [1]Delivery // all that most publishes need
	deliveries := one[:0]
	defer func() { // also after a panic
		for _, d := range deliveries {
			d.Flush()
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrStopped
	}
	for _, m := range all {
		deliveries = append(deliveries, s.next(m, b.handler))
	}
	return nil
}

// next delivers the app's next message. The caller holds mu.
func (s *sequence) next(m *Message, h Handler) Delivery {
	s.last.Offset++
	m.Position = s.last
	d := h.Deliver(m)
	m.Subscribers = d.Subscribers
	return d
}

// Position implements Local.
func (b *memory) Position(app string) Position {
	s := b.sequence(app)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Restore implements Local.
func (b *memory) Restore(app string, last Position) {
	s := b.sequence(app)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = last
}

// Forget implements Broker.
func (b *memory) Forget(app string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.apps, app)
}

// Close implements Broker.
func (b *memory) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, s := range b.apps {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
	}
	return nil
}

func (b *memory) sequence(app string) *sequence {
	b.mu.RLock()
	seq := b.apps[app]
	b.mu.RUnlock()
	if seq != nil {
		return seq
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if seq = b.apps[app]; seq == nil {
		seq = &sequence{last: Position{Epoch: NewEpoch(app)}, closed: b.closed}
		b.apps[app] = seq
	}
	return seq
}
