// Package hub carries the messages of channels to their subscribers. It knows
// neither transports nor protocols: a function of the package's user encodes
// each message once, and every subscriber gets the result.
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

	// Data is JSON, exactly as it was sent, or nil if there was none.
	Data json.RawMessage

	// Except is the ID of a subscriber that does not get the message, or "".
	Except string

	// NoHistory means: delivered and numbered, but not kept. Recovery and rewind
	// do not include it.
	NoHistory bool

	// Offset is the message's number in its app, from 1, without gaps. The
	// broker sets it.
	Offset uint64

	// channel is the channel that the publisher's hub found, a *channel[P], or
	// nil if it had no subscribers.
	channel any
}

// A Subscriber receives the messages of its channels as a payload P.
type Subscriber[P any] interface {
	// ID is the value that Message.Except refers to. It does not change.
	ID() string

	// Queue accepts one delivery of a message, and returns the Flusher that now
	// waits for a Flush, or nil. It must neither block nor call the hub,
	// because the channel waits for it.
	Queue(payload P) Flusher
}

// A Flusher sends what Queue has accepted.
type Flusher interface {
	// Flush is called with no lock held, but it must not block, because others
	// wait for it. begun counts the work that Flush leaves to another
	// goroutine, until that goroutine has begun.
	Flush(begun *sync.WaitGroup)
}

// A Hub knows the subscribers of every channel. All its methods may be called
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

// shardCount bounds how many goroutines can look up or change channels at once.
const shardCount = 64

// name identifies a channel. It includes the app, so apps never share channels.
type name struct{ app, channel string }

type shard[P any] struct {
	mu       sync.RWMutex // guards channels
	channels lean.Map[name, *channel[P]]
}

// A channel has subscribers. Its lock is held while a message is handed to
// them, so that messages do not interleave, and a subscription falls between
// two messages.
type channel[P any] struct {
	hub  *Hub[P]
	name name

	mu   sync.Mutex         // guards everything below
	subs []*subscription[P] // in no particular order
	gone bool               // the last subscriber has left and the channel is no longer in the map

	unflushed int           // bytes of messages since all subscribers were flushed
	owed      int           // publishes and batches in flight
	flushed   chan struct{} // if not nil, closed when owed drops to 0
}

// New creates a hub that sends its messages through the broker, and starts the
// broker. encode is called once for each message that has subscribers. The
// broker belongs to the hub from then on: the hub closes it, even if New fails.
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

// Close closes the broker. Call it when nobody publishes or subscribes any
// longer.
func (h *Hub[P]) Close() error {
	if h.interests != nil {
		h.interests.close()
	}
	return h.broker.Close()
}

// Receipt is what the publisher of a message learns.
type Receipt struct {
	ID          string
	Offset      uint64
	Subscribers int // as far as known when the message was accepted
}

// Publish makes the broker carry a message to every subscriber of its channel.
// It waits while the channel is too far ahead of its subscribers' flushes (see
// SetAhead), but never for a single subscriber. m.Data can be reused once it
// has returned. ctx bounds both that wait and the broker's time.
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
	if c == nil || c.hub != h || !c.enter() { // a new channel may exist by now
		c = h.find(name{m.App, m.Channel})
		if c == nil || !c.enter() {
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

// find returns the channel if it has subscribers, otherwise nil.
func (h *Hub[P]) find(key name) *channel[P] {
	s := h.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.channels.Get(key)
}

// Channels returns the number of channels that have subscribers.
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

// Subscriptions returns the number of subscribers of all channels; a subscriber
// of two channels counts twice.
func (h *Hub[P]) Subscriptions() int { return int(h.subs.Load()) }

func (h *Hub[P]) shard(n name) *shard[P] {
	return &h.shards[maphash.Comparable(h.seed, n)%shardCount]
}

// channel finds or creates a channel, which may be gone again by the time the
// caller holds its lock.
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

// Forget drops the state of an app that is gone for good and has no
// subscribers.
func (h *Hub[P]) Forget(app string) { h.broker.Forget(app) }

// drop removes a channel that is gone from the map.
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
