package hub

import (
	"context"
	"crypto/rand"
	"strconv"
	"sync"
)

// memory is the broker for a single process.
type memory struct {
	handler Handler

	mu   sync.RWMutex // guards apps
	apps map[string]*sequence
}

// A sequence numbers the messages of one app.
type sequence struct {
	epoch string // distinguishes the messages of one run of the process from another's

	// mu guards last. It is held while a message is queued for all its
	// subscribers, so that each of them gets the app's messages in order.
	mu   sync.Mutex
	last uint64
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

// Publish implements Broker. The message is queued by the time it returns.
func (b *memory) Publish(_ context.Context, m *Message) (Receipt, error) {
	delivery := b.sequence(m.App).deliver(m, b.handler)
	delivery.Flush()
	return Receipt{ID: m.ID, Offset: m.Offset, Subscribers: delivery.Subscribers}, nil
}

func (s *sequence) deliver(m *Message, h Handler) Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	m.Offset = s.last
	var id [32]byte // large enough for any ID
	m.ID = string(strconv.AppendUint(append(append(id[:0], s.epoch...), '-'), m.Offset, 36))
	return h.Deliver(m)
}

// Forget implements Broker.
func (b *memory) Forget(app string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.apps, app)
}

// Close implements Broker.
func (*memory) Close() error { return nil }

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
		seq = &sequence{epoch: rand.Text()[:16]}
		b.apps[app] = seq
	}
	return seq
}
