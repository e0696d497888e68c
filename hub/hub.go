// Package hub carries the messages of channels to their subscribers. It knows
// neither transports nor protocols: a function of the package's user encodes
// each message once, and every subscriber gets the result.
package hub

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/lean"
)

// A Hub knows the subscribers of every channel. All its methods may be called
// concurrently.
type Hub[P any] struct {
	codec       Codec[P]
	broker      Broker
	interests   *interests // nil if the broker is not Interested
	admitter    Admitter   // the broker if it is one; otherwise the gate is used
	gate        gate
	seed        maphash.Seed
	shards      [shardCount]shard[P]
	subs        atomic.Int64
	occupied    atomic.Int64                             // channels that have subscribers
	observe     func(app, channel string, occupied bool) // can be nil
	interrupted func(Subscriber[P])                      // can be nil
	delivered   func(app string, size, subscribers int)  // can be nil
	free        sync.Pool                                // of *batch[P]
	ahead       atomic.Int64                             // see Limits

	began     time.Time
	history   history[P]
	sessions  sessions[P]
	saver     *saver[P]    // nil if the broker is no SessionStore
	maxReplay atomic.Int64 // see Limits
	replayed  atomic.Uint64

	streamsMu sync.RWMutex // guards streams
	streams   lean.Map[string, *stream[P]]

	sweeper    sync.WaitGroup
	interrupts sync.WaitGroup // goroutines that call interrupted
	closed     chan struct{}
}

// A Codec makes payloads of messages. Its functions must not block.
type Codec[P any] struct {
	// Encode is called once for each message that has subscribers or is kept. The
	// payload must not share the message's Data.
	Encode func(*Message) P

	// Text returns what the history keeps of a payload: a text of which, with the
	// message's ID, Payload makes the same. Both are copied.
	Text    func(P) []byte
	Payload func(text []byte, id string) (P, error)
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
	h.history.limit.Store(l.History)
	h.sessions.mu.Lock()
	h.sessions.limit = l.Away
	h.sessions.mu.Unlock()
	h.history.bound()
}

// Observe has f called, under the lock of a channel, when the channel has its first
// subscriber or no longer has one. f must not block or call the hub. Call it before
// anybody subscribes.
func (h *Hub[P]) Observe(f func(app, channel string, occupied bool)) { h.observe = f }

// Delivered has f called for each message that was queued for subscribers here, also for
// those that were published on other machines. size is that of its data, in bytes. f must
// not block. Call it before anybody subscribes.
func (h *Hub[P]) Delivered(f func(app string, size, subscribers int)) { h.delivered = f }

// Interrupted has f called for each subscriber whose session has ended because the
// broker has lost messages that its client may have missed. f ends its connection, so
// that the client begins again. It is called with no lock held. Call Interrupted before
// anybody subscribes.
func (h *Hub[P]) Interrupted(f func(Subscriber[P])) { h.interrupted = f }

// New creates a hub that sends its messages through the broker, and starts the
// broker. The broker belongs to the hub from then on: the hub closes it, even if
// New fails.
func New[P any](broker Broker, codec Codec[P]) (*Hub[P], error) {
	h := &Hub[P]{codec: codec, broker: broker, seed: maphash.MakeSeed(), began: time.Now(), closed: make(chan struct{})}
	h.Configure(Limits{})
	if interested, ok := broker.(Interested); ok {
		h.interests = newInterests(interested, h.unheld)
		if store, ok := broker.(SessionStore); ok {
			h.saver = newSaver(h, store)
		}
	}
	h.admitter, _ = broker.(Admitter)
	if err := broker.Start(h); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the broker: %w", err), broker.Close())
	}
	h.sweeper.Go(h.sweep)
	if h.saver != nil {
		h.sweeper.Go(h.saver.run)
	}
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
	err := h.broker.Close()
	h.interrupts.Wait()
	return err
}

// Channels returns the number of channels that have subscribers.
func (h *Hub[P]) Channels() int { return int(h.occupied.Load()) }

// Replayed returns how many messages were sent again, or to those who subscribed
// after them.
func (h *Hub[P]) Replayed() uint64 { return h.replayed.Load() }

// Subscriptions returns the number of subscribers of all channels; a subscriber
// of two channels counts twice.
func (h *Hub[P]) Subscriptions() int { return int(h.subs.Load()) }

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
			c.evict(c.ring.len())
		}
		c.drop()
		c.mu.Unlock()
	}
	h.streamsMu.Lock()
	h.streams.Delete(app)
	h.streamsMu.Unlock()
	h.gate.forget(app)
	h.broker.Forget(app)
}

// Interface guard
var _ Handler = (*Hub[struct{}])(nil)
