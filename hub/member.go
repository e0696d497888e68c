package hub

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed is returned for a closed member.
var ErrClosed = errors.New("the subscriber is closed")

// ErrTooMany is returned when a member would exceed its limit of channels.
var ErrTooMany = errors.New("too many channels")

// A Member is one subscriber's place in the hub and the only owner of its
// subscriptions: once it is closed, it is in no channel, whatever raced with
// the close.
type Member[P any] struct {
	app string
	to  Subscriber[P]

	mu    sync.Mutex         // guards everything below; locked before a channel's
	hub   *Hub[P]            // nil once closed, which saves every member a field
	subs  []*subscription[P] // in order of subscription; some are nil if there is an index
	index index              // nil while there are few channels
}

// A subscription is one member's place in one channel.
type subscription[P any] struct {
	member  *Member[P]
	channel *channel[P]
	index   int // in channel.subs, guarded by the channel's mu
}

// Join creates a member for one app's channels. It is in none of them yet.
// Close ends it.
func (h *Hub[P]) Join(app string, to Subscriber[P]) *Member[P] {
	return &Member[P]{hub: h, app: app, to: to}
}

// Subscribe puts the member into a channel, unless it is already there or in
// limit channels. joined is called at the moment from which messages arrive:
// whatever it sends comes before the first of them. It must not block.
//
// If the broker must be told, Subscribe waits for it until ctx ends, and holds
// no lock meanwhile. Its errors are ErrClosed, ErrTooMany, ctx's and the
// broker's.
func (m *Member[P]) Subscribe(ctx context.Context, channel string, limit int, joined func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if done, err := m.settled(channel, limit, joined); done {
		return err
	}
	h, n := m.hub, name{m.app, channel}
	if h.interests != nil {
		m.mu.Unlock()
		err := h.interests.acquire(ctx, n)
		m.mu.Lock()
		if err != nil {
			return err
		}
		if done, err := m.settled(channel, limit, joined); done { // settled meanwhile
			h.interests.release(n) //nolint:contextcheck // nobody waits for the call that it begins
			return err
		}
	}
	m.join(n, joined)
	return nil
}

// TrySubscribe is Subscribe if that need not wait for the broker. Otherwise it
// does nothing and done is false.
func (m *Member[P]) TrySubscribe(channel string, limit int, joined func()) (done bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if done, err := m.settled(channel, limit, joined); done {
		return true, err
	}
	n := name{m.app, channel}
	if m.hub.interests != nil && !m.hub.interests.tryAcquire(n) {
		return false, nil
	}
	m.join(n, joined)
	return true, nil
}

// join puts the member into a channel. The caller holds mu.
func (m *Member[P]) join(n name, joined func()) {
	sub := &subscription[P]{member: m}
	for !m.enter(sub, m.hub.channel(n), joined) {
	}
}

// settled reports whether nothing needs to be done, or nothing is allowed. The
// caller holds mu.
func (m *Member[P]) settled(channel string, limit int, joined func()) (done bool, err error) {
	switch {
	case m.hub == nil:
		return true, ErrClosed
	case m.find(channel) >= 0:
		joined()
		return true, nil
	case m.len() >= limit:
		return true, ErrTooMany
	}
	return false, nil
}

// enter puts a subscription into a channel, unless the channel is gone. If
// joined panics, the channel is still unlocked, and Close finds the
// subscription. The caller holds mu.
func (m *Member[P]) enter(sub *subscription[P], c *channel[P], joined func()) bool {
	if !c.enter() {
		return false
	}
	defer c.mu.Unlock()
	sub.channel, sub.index = c, len(c.subs)
	c.subs = append(c.subs, sub)
	m.add(sub)
	m.hub.subs.Add(1)
	joined()
	return true
}

// Unsubscribe takes the member out of a channel. It returns false if the member
// was not in it.
func (m *Member[P]) Unsubscribe(channel string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.find(channel)
	if i < 0 {
		return false
	}
	m.leave(m.subs[i])
	m.remove(i)
	return true
}

// Len returns the number of channels that the member is in.
func (m *Member[P]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.len()
}

// Channels returns the channels that the member is in, in the order in which it
// joined them.
func (m *Member[P]) Channels() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, m.len())
	for _, sub := range m.subs {
		if sub != nil {
			names = append(names, sub.channel.name.channel)
		}
	}
	return names
}

// Close takes the member out of all channels, permanently.
func (m *Member[P]) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hub == nil {
		return
	}
	for _, sub := range m.subs {
		if sub != nil {
			m.leave(sub)
		}
	}
	m.hub, m.subs, m.index = nil, nil, nil
}

// leave takes a subscription out of its channel, and removes the channel from
// the hub if that was its last subscription. The caller holds mu.
func (m *Member[P]) leave(sub *subscription[P]) {
	m.hub.subs.Add(-1)
	c := sub.channel
	if c.remove(sub) {
		m.hub.drop(c)
	}
	if m.hub.interests != nil {
		m.hub.interests.release(c.name)
	}
}

// remove removes a subscription. It returns true if the channel is now empty,
// and therefore gone.
func (c *channel[P]) remove(sub *subscription[P]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.subs) - 1
	moved := c.subs[last]
	c.subs[sub.index], moved.index = moved, sub.index
	c.subs[last] = nil
	c.subs = c.subs[:last]
	if cap(c.subs) > 64 && len(c.subs) < cap(c.subs)/4 {
		c.subs = append(make([]*subscription[P], 0, 2*len(c.subs)), c.subs...)
	}
	c.gone = len(c.subs) == 0
	return c.gone
}
