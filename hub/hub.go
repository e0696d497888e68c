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
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/lean"
)

// Message is one accepted publish.
type Message struct {
	App     string
	Channel string
	Event   string

	// Data is JSON, exactly as it was sent, or nil if there was none.
	Data json.RawMessage

	// Except is the ID of a subscriber that does not get the message, or "".
	Except string

	// NoHistory means that the message is delivered and numbered, but not kept:
	// recovery and rewind do not include it.
	NoHistory bool

	// Keep says how long the channel's history keeps the message.
	Keep Keep

	// Position is the message's place in its app. The broker sets it.
	Position

	// Subscribers is the number of subscribers, as far as the broker knows when
	// it accepts the message. The broker sets it.
	Subscribers int

	// stream is the app's *stream[P] in the publisher's hub, and channel the
	// *channel[P] that it found, or nil if there was no record of it.
	stream, channel any
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
	codec     Codec[P]
	broker    Broker
	interests *interests // nil if the broker is not Interested
	seed      maphash.Seed
	shards    [shardCount]shard[P]
	subs      atomic.Int64
	occupied  atomic.Int64 // channels that have subscribers
	free      sync.Pool    // of *batch[P]
	ahead     atomic.Int64 // see Limits

	began     time.Time
	history   history[P]
	sessions  sessions[P]
	maxReplay atomic.Int64 // see Limits
	replayed  atomic.Uint64

	streamsMu sync.RWMutex // guards streams
	streams   lean.Map[string, *stream[P]]

	sweeper sync.WaitGroup
	closed  chan struct{}
}

// A Codec makes payloads of messages. Its functions must not block.
type Codec[P any] struct {
	// Encode is called once for each message that has subscribers or is kept.
	Encode func(*Message) P

	// Keep makes a payload independent of its message's Data, and returns its
	// size in bytes. It is called after the payload was queued for the
	// subscribers.
	Keep func(P) int

	// Marshal and Unmarshal write and read payloads that were kept, for a
	// Snapshot. They may share memory.
	Marshal   func(P) []byte
	Unmarshal func([]byte) (P, error)
}

// Limits bound what a hub keeps for subscribers. 0 means no limit.
type Limits struct {
	// Ahead bounds how many bytes of messages a channel can be ahead of the
	// flushes to its subscribers. Publishers that are faster than the machine
	// can write then wait for it. Without a limit, they fill the queues even of
	// subscribers that read everything they get. Because a Flush never blocks, a
	// subscriber that does not read makes nobody wait.
	Ahead int

	// History bounds the memory of all channels' history, in bytes. Over it, the
	// oldest messages are evicted.
	History int64

	// Replay bounds what is replayed to a subscriber at once, in bytes.
	Replay int

	// Away bounds the sessions that are away.
	Away int
}

// Configure sets the limits.
func (h *Hub[P]) Configure(l Limits) {
	h.ahead.Store(int64(l.Ahead))
	if l.Replay <= 0 {
		l.Replay = math.MaxInt / replayBudget
	}
	h.maxReplay.Store(int64(l.Replay))
	h.history.mu.Lock()
	h.history.limit = l.History
	h.history.mu.Unlock()
	h.sessions.mu.Lock()
	h.sessions.limit = l.Away
	h.sessions.mu.Unlock()
	h.history.bound()
}

// shardCount bounds how many goroutines can look up or change channels at once.
const shardCount = 64

// name identifies a channel. It includes the app, so apps never share channels.
type name struct{ app, channel string }

type shard[P any] struct {
	mu       sync.RWMutex // guards channels
	channels lean.Map[name, *channel[P]]
}

// A channel is the record of a channel that has subscribers or a history, or
// that sessions which are away were in. Its lock is held while a message is
// handed to the subscribers, so that messages do not interleave, and a
// subscription falls between two messages.
type channel[P any] struct {
	stream *stream[P]
	name   name

	mu   sync.Mutex         // guards everything below
	subs []*subscription[P] // in no particular order
	ring *ring[P]           // nil until needed
	pins int32              // of sessions that are away
	gone bool               // the record is no longer in the map

	unflushed int           // bytes of messages since all subscribers were flushed
	owed      int           // publishes and batches in flight
	flushed   chan struct{} // if not nil, closed when owed drops to 0
}

// New creates a hub that sends its messages through the broker, and starts the
// broker. The broker belongs to the hub from then on: the hub closes it, even if
// New fails.
func New[P any](broker Broker, codec Codec[P]) (*Hub[P], error) {
	h := &Hub[P]{codec: codec, broker: broker, seed: maphash.MakeSeed(), began: time.Now(), closed: make(chan struct{})}
	h.Configure(Limits{})
	if interested, ok := broker.(Interested); ok {
		h.interests = newInterests(interested)
	}
	if err := broker.Start(h); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the broker: %w", err), broker.Close())
	}
	h.sweeper.Go(h.sweep)
	return h, nil
}

// Intervals at which what is too old is removed. It is not used any longer even
// before that.
const (
	sessionSweep = time.Second
	historySweep = 5 * time.Second
)

// sweep runs until the hub is closed.
func (h *Hub[P]) sweep() {
	sessions, history := time.NewTicker(sessionSweep), time.NewTicker(historySweep)
	defer sessions.Stop()
	defer history.Stop()
	for {
		select {
		case <-sessions.C:
			h.sweepSessions()
		case <-history.C:
			h.sweepHistory()
		case <-h.closed:
			return
		}
	}
}

// Close closes the broker. Nothing is delivered any longer once it has returned.
// Call it when nobody subscribes any longer.
func (h *Hub[P]) Close() error {
	close(h.closed)
	h.sweeper.Wait()
	if h.interests != nil {
		h.interests.close()
	}
	return h.broker.Close()
}

// Receipt is what the publisher of a message learns.
type Receipt struct {
	Position
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
	return Receipt{m.Position, m.Subscribers}, nil
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
			c.count(m)
			defer c.settle()
		}
	}
	if err := h.broker.Publish(ctx, messages); err != nil {
		return nil, err
	}
	receipts := make([]Receipt, len(all))
	for i, m := range messages {
		receipts[i] = Receipt{m.Position, m.Subscribers}
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
		for _, sub := range c.subs {
			if m.Except != "" && sub.member.to.ID() == m.Except {
				subscribers--
				continue
			}
			if f := sub.member.to.Queue(payload); f != nil {
				h.wait(c, &w, f)
			}
		}
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
func (h *Hub[P]) Channels() int { return int(h.occupied.Load()) }

// Replayed returns how many messages were sent again, or to those who subscribed
// after them.
func (h *Hub[P]) Replayed() uint64 { return h.replayed.Load() }

// Subscriptions returns the number of subscribers of all channels; a subscriber
// of two channels counts twice.
func (h *Hub[P]) Subscriptions() int { return int(h.subs.Load()) }

func (h *Hub[P]) shard(n name) *shard[P] {
	return &h.shards[maphash.Comparable(h.seed, n)%shardCount]
}

// channel finds or creates a channel, which may be gone again by the time the
// caller holds its lock.
func (s *stream[P]) channel(of string) *channel[P] {
	n := name{s.app, of}
	shard := s.hub.shard(n)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	c := shard.channels.Get(n)
	if c == nil {
		c = &channel[P]{stream: s, name: n}
		shard.channels.Set(n, c)
	}
	return c
}

// Forget drops the state of an app that is gone for good and has no
// subscribers.
func (h *Hub[P]) Forget(app string) {
	h.EndAway(app, math.MaxInt)
	for c := range h.records() {
		if c.name.app != app {
			continue
		}
		c.mu.Lock()
		if c.ring != nil {
			c.evict(len(c.ring.entries))
		}
		c.drop()
		c.mu.Unlock()
	}
	h.streamsMu.Lock()
	h.streams.Delete(app)
	h.streamsMu.Unlock()
	h.broker.Forget(app)
}

// drop removes the record from the map if nothing is left of it. The history of
// an Interested broker's channel ends with the last subscriber, because the hub
// does not get its messages any longer. The caller holds mu.
func (c *channel[P]) drop() {
	if c.gone || len(c.subs) > 0 || c.pins > 0 {
		return
	}
	h := c.stream.hub
	if c.ring != nil {
		if len(c.ring.entries) > 0 && h.interests == nil {
			return
		}
		c.evict(len(c.ring.entries))
		c.stream.raise(c.ring.floor)
	}
	c.gone = true
	s := h.shard(c.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channels.Delete(c.name)
}

// Interface guard
var _ Handler = (*Hub[struct{}])(nil)
