// Package hub carries the messages of channels to their subscribers. It knows
// neither transports nor protocols: a message is encoded once by a function of
// its user, and each subscriber is handed the result.
package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/seed-c079cc48/caddy-realtime/internal/lean"
)

// Message is one accepted publish.
type Message struct {
	ID      string
	App     string
	Channel string
	Event   string

	// Data is JSON as it was sent, nil if there was none.
	Data json.RawMessage

	// Except is the ID of a subscriber who is left out, "" for nobody.
	Except string

	// Offset is the message's number in its app, from 1, without gaps. The
	// broker gives it.
	Offset uint64

	// channel is where the publisher's hub has found the channel, a *channel[P];
	// nil if it had no subscribers.
	channel any
}

// A Subscriber is handed the messages of its channels as a payload P.
type Subscriber[P any] interface {
	// ID is what a Message's Except names. It does not change.
	ID() string

	// Queue takes one delivery of a message, and returns who now waits for a
	// Flush, or nil. It must neither block nor call the hub: the channel waits
	// for it.
	Queue(payload P) Flusher
}

// A Flusher sends what a Queue has taken.
type Flusher interface {
	// Flush is called when no lock is held any more, but it must not block:
	// others wait for it. What it leaves to another goroutine is in begun
	// until that has begun.
	Flush(begun *sync.WaitGroup)
}

// A Hub knows who has subscribed to what. All its methods may be called
// concurrently.
type Hub[P any] struct {
	encode    func(*Message) P
	broker    Broker
	interests *interests // nil if the broker is not Interested
	seed      maphash.Seed
	shards    [shardCount]shard[P]
	subs      atomic.Int64
	free      sync.Pool    // of *batch[P]
	ahead     atomic.Int64 // see SetAhead
}

// shardCount bounds how many goroutines can look up or change channels at a
// time.
const shardCount = 64

// name is a channel's: two apps' channels never meet.
type name struct{ app, channel string }

type shard[P any] struct {
	mu       sync.RWMutex // guards channels
	channels lean.Map[name, *channel[P]]
}

// A channel that has subscribers. Its lock is held while a message is handed
// to them, so that one comes wholly before or after another, and a subscription
// between two messages.
type channel[P any] struct {
	hub  *Hub[P]
	name name

	mu   sync.Mutex         // guards all below
	subs []*subscription[P] // in no order
	gone bool               // the last has left and the channel is out of the map

	unflushed int           // bytes of messages since everybody was flushed
	owed      int           // publishes and batches that are under way
	flushed   chan struct{} // if not nil, closed when nothing is owed
}

// New makes a hub whose messages go through the broker, which it starts. encode is
// called once for each message that has subscribers. From then on the broker belongs
// to the hub, which closes it, also if New fails.
func New[P any](broker Broker, encode func(*Message) P) (*Hub[P], error) {
	h := &Hub[P]{encode: encode, broker: broker, seed: maphash.MakeSeed()}
	if interested, ok := broker.(Interested); ok {
		h.interests = newInterests(interested)
	}
	if err := broker.Start(h); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the broker: %w", err), broker.Close())
	}
	return h, nil
}

// Close closes the broker, once nobody publishes or subscribes any more.
func (h *Hub[P]) Close() error {
	if h.interests != nil {
		h.interests.close()
	}
	return h.broker.Close()
}

// Receipt is what the publisher of a message is told.
type Receipt struct {
	ID          string
	Offset      uint64
	Subscribers int // as far as they were known when the message was accepted
}

// Publish has the broker take a message to every subscriber of its channel. It
// waits while the channel is too far ahead of its subscribers' flushes, see
// SetAhead, and never for a subscriber. m.Data may be reused once it has returned.
// ctx bounds both that and how long the broker may take.
func (h *Hub[P]) Publish(ctx context.Context, m Message) (Receipt, error) {
	if c := h.find(name{m.App, m.Channel}); c != nil {
		if err := c.admit(ctx, &m, h.ahead.Load()); err != nil {
			return Receipt{}, err
		}
		defer c.settle()
		m.channel = c
	}
	return h.broker.Publish(ctx, &m)
}

// Deliver implements Handler.
func (h *Hub[P]) Deliver(m *Message) (d Delivery) {
	c, _ := m.channel.(*channel[P])
	if c == nil || c.hub != h || !c.enter() { // there may be another by now
		c = h.find(name{m.App, m.Channel})
		if c == nil || !c.enter() {
			return Delivery{}
		}
	}
	var w waiting[P]
	whole := false
	defer func() {
		c.mu.Unlock()
		if !whole { // after a panic: who has got the message is not left waiting
			w.delivery(0).Flush()
		}
	}()
	payload := h.encode(m)
	subscribers := len(c.subs)
	for _, sub := range c.subs {
		if m.Except != "" && sub.member.to.ID() == m.Except {
			subscribers--
			continue
		}
		if f := sub.member.to.Queue(payload); f != nil {
			h.wait(c, &w, f)
		}
	}
	whole = true
	return w.delivery(subscribers)
}

// enter locks the channel, unless it is gone.
func (c *channel[P]) enter() bool {
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		return false
	}
	return true
}

// find returns a channel that has subscribers, or nil.
func (h *Hub[P]) find(key name) *channel[P] {
	s := h.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.channels.Get(key)
}

// Channels is the number of channels that have subscribers.
func (h *Hub[P]) Channels() int {
	n := 0
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.RLock()
		n += s.channels.Len()
		s.mu.RUnlock()
	}
	return n
}

// Subscriptions is the number of subscribers of all channels, one that is in
// two of them counted twice.
func (h *Hub[P]) Subscriptions() int { return int(h.subs.Load()) }

func (h *Hub[P]) shard(n name) *shard[P] {
	return &h.shards[maphash.Comparable(h.seed, n)%shardCount]
}

// channel finds or makes a channel; it may be gone again by the time that the
// caller has its lock.
func (h *Hub[P]) channel(n name) *channel[P] {
	s := h.shard(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels.Get(n)
	if c == nil {
		c = &channel[P]{hub: h, name: n}
		s.channels.Set(n, c)
	}
	return c
}

// Forget drops what is kept of an app that is gone for good and has no
// subscribers.
func (h *Hub[P]) Forget(app string) { h.broker.Forget(app) }

// drop takes a channel that is gone out of the map.
func (h *Hub[P]) drop(c *channel[P]) {
	s := h.shard(c.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.channels.Get(c.name) == c {
		s.channels.Delete(c.name)
	}
}

// Interface guard
var _ Handler = (*Hub[struct{}])(nil)
