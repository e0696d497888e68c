// Package hub carries the messages of channels to their subscribers. It knows
// neither transports nor protocols: a message is encoded once by a function of
// its user, and each subscriber is handed the result.
package hub

import (
	"encoding/json"
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"
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
	encode func(*Message) P
	broker Broker
	seed   maphash.Seed
	shards [shardCount]shard[P]
	subs   atomic.Int64
	free   sync.Pool    // of *batch[P]
	ahead  atomic.Int64 // see SetAhead
}

// shardCount bounds how many goroutines can look up or change channels at a
// time.
const shardCount = 64

// name is a channel's: two apps' channels never meet.
type name struct{ app, channel string }

type shard[P any] struct {
	mu       sync.RWMutex // guards all below
	channels map[name]*channel[P]
	most     int // channels since the map was made, which never gets smaller by itself
}

// A channel that has subscribers. Its lock is held while a message is handed
// to them, so that one comes wholly before or after another, and a subscription
// between two messages.
type channel[P any] struct {
	name name

	mu   sync.Mutex         // guards all below
	subs []*subscription[P] // in no order
	gone bool               // the last has left and the channel is out of the map

	unflushed int           // bytes of messages since everybody was flushed
	owed      int           // publishes and batches that are under way
	flushed   chan struct{} // if not nil, closed when nothing is owed
}

// New makes a hub whose messages go through the broker. encode is called once
// for each message that has subscribers.
func New[P any](broker Broker, encode func(*Message) P) *Hub[P] {
	h := &Hub[P]{encode: encode, broker: broker, seed: maphash.MakeSeed()}
	for i := range h.shards {
		h.shards[i].channels = make(map[name]*channel[P])
	}
	return h
}

// Receipt is what the publisher of a message is told.
type Receipt struct {
	ID          string
	Offset      uint64
	Subscribers int // on this machine, when the message was accepted
}

// Publish hands a message to every subscriber of its channel. It waits while
// the channel is too far ahead of its subscribers' flushes, see SetAhead, and
// never for a subscriber. m.Data may be reused once it has returned.
func (h *Hub[P]) Publish(m Message) (Receipt, error) {
	c := h.find(name{m.App, m.Channel})
	if c != nil {
		c.admit(&m, h.ahead.Load())
		defer c.settle()
	}
	var w waiting[P]
	defer h.flushLast(&w) // whom a panic leaves waiting, too
	subscribers, err := h.broker.Publish(&m, func(m *Message) int { return h.deliver(c, m, &w) })
	return Receipt{ID: m.ID, Offset: m.Offset, Subscribers: subscribers}, err
}

// deliver hands an accepted message to this machine's subscribers and counts
// them. c is their channel as it was before, nil if they are new. Those in w
// are left to be flushed when no lock is held.
func (h *Hub[P]) deliver(c *channel[P], m *Message, w *waiting[P]) int {
	if c == nil || !c.enter() { // there may be another by now
		c = h.find(name{m.App, m.Channel})
		if c == nil || !c.enter() {
			return 0
		}
	}
	defer c.mu.Unlock()
	payload := h.encode(m)
	subscribers := len(c.subs)
	for _, sub := range c.subs {
		if m.Except != "" && sub.member.to.ID() == m.Except {
			subscribers--
			continue
		}
		if f := sub.member.to.Queue(payload); f != nil {
			h.wait(c, w, f)
		}
	}
	return subscribers
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
	return s.channels[key]
}

// Channels is the number of channels that have subscribers.
func (h *Hub[P]) Channels() int {
	n := 0
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.RLock()
		n += len(s.channels)
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
	c := s.channels[n]
	if c == nil {
		c = &channel[P]{name: n}
		s.channels[n] = c
		s.most = max(s.most, len(s.channels))
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
	if s.channels[c.name] == c {
		delete(s.channels, c.name)
		s.shrink()
	}
}

// shrinkAt is how many channels a map must have had to be worth a smaller one.
const shrinkAt = 256

// shrink gives the memory of many channels back once few are left: a client may
// have been in very many. It needs mu.
func (s *shard[P]) shrink() {
	left := len(s.channels)
	if s.most < shrinkAt || left > s.most/4 {
		return
	}
	channels := make(map[name]*channel[P], left)
	maps.Copy(channels, s.channels)
	s.channels, s.most = channels, left
}
