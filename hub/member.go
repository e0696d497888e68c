package hub

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed is returned for a closed member.
var ErrClosed = errors.New("the subscriber is closed")

// ErrPosition is returned for a position that is none of the app.
var ErrPosition = errors.New("not a position of the app")

// ErrTooMany is returned when a member would exceed its limit of channels.
var ErrTooMany = errors.New("too many channels")

// A Member is one subscriber's place in the hub and the only owner of its
// subscriptions: once it is closed, it is in no channel, whatever raced with
// the close.
type Member[P any] struct {
	to Subscriber[P]

	mu     sync.Mutex         // guards everything below; locked before a stream's
	stream *stream[P]         // nil once closed
	subs   []*subscription[P] // in order of subscription; some are nil if there is an index
	index  index              // nil while there are few channels
	hidden uint8              // of subs, those to hidden channels
	track  *track[P]          // nil until needed
}

// A subscription is one member's place in one channel.
type subscription[P any] struct {
	member  *Member[P]
	channel *channel[P]
	index   int    // in channel.subs, guarded by the channel's mu
	since   uint64 // where the stream stood, for a member that can come back
}

// Join creates a member for one app's channels. It is in none of them yet.
// Close ends it.
func (h *Hub[P]) Join(app string, to Subscriber[P]) *Member[P] {
	return &Member[P]{stream: h.stream(app), to: to}
}

// Subscribe puts the member into a channel, unless it is already there or in
// limit channels. joined is called at the moment from which messages arrive:
// whatever it sends comes before the first of them. It must not block, nor call
// the hub. from asks for earlier messages; joined gets them. If the member is
// already in the channel, joined is called between two messages of it.
//
// If the broker must be told, Subscribe waits for it until ctx ends, and holds
// no lock meanwhile. Its errors are ErrClosed, ErrTooMany, ErrPosition, ctx's
// and the broker's.
func (m *Member[P]) Subscribe(ctx context.Context, channel string, limit int, from From, joined func(Standing[P])) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if done, err := m.settled(channel, limit, from, joined); done {
		return err
	}
	h, n := m.stream.hub, name{m.stream.app, channel}
	if h.interests == nil {
		return m.join(n, from, joined)
	}
	s := m.stream
	m.mu.Unlock()
	err := s.prepare(ctx, n, from)
	m.mu.Lock()
	if err != nil {
		return err
	}
	done, err := m.joinSaved(ctx, n, limit, from, joined)
	if done || err != nil {
		h.interests.release(n) //nolint:contextcheck // nobody waits for the call that it begins
	}
	return err
}

// prepare acquires an interest in a channel, and has the hub know where the app stands as
// far as a new subscriber needs it.
func (s *stream[P]) prepare(ctx context.Context, n name, from From) error {
	interests := s.hub.interests
	if err := interests.acquire(ctx, n); err != nil {
		return err
	}
	err := s.reach(ctx, from.Since)
	if err != nil {
		interests.release(n) //nolint:contextcheck // nobody waits for the call that it begins
	}
	return err
}

// joinSaved saves the member's session if it has one that is kept in a store, and puts
// the member into a channel, unless that was settled meanwhile. The caller holds mu, and
// the hub an interest in the channel.
func (m *Member[P]) joinSaved(ctx context.Context, n name, limit int, from From, joined func(Standing[P])) (settled bool, err error) {
	if done, err := m.settled(n.channel, limit, from, joined); done {
		return true, err
	}
	if !m.isStored() {
		return false, m.join(n, from, joined)
	}
	saved, err := m.saveJoin(ctx, n.channel, from)
	defer saved()
	if err != nil {
		return false, err
	}
	if done, err := m.settled(n.channel, limit, from, joined); done {
		return true, err
	}
	return false, m.join(n, from, joined)
}

// TrySubscribe is Subscribe if that need not wait for the broker. Otherwise it
// does nothing and done is false.
func (m *Member[P]) TrySubscribe(channel string, limit int, from From, joined func(Standing[P])) (done bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if done, err := m.settled(channel, limit, from, joined); done {
		return true, err
	}
	h, n := m.stream.hub, name{m.stream.app, channel}
	if m.isStored() || m.stream.isBehind(from.Since) || h.interests != nil && !h.interests.tryAcquire(n) {
		return false, nil
	}
	if err = m.join(n, from, joined); err != nil && h.interests != nil {
		h.interests.release(n)
	}
	return true, err
}

// join puts the member into a channel. The caller holds mu, and the hub an
// interest in the channel.
func (m *Member[P]) join(n name, from From, joined func(Standing[P])) error {
	s := m.stream
	positioned := m.positioned(from)
	if positioned {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	c := s.channel(n.channel)
	for !c.enter() {
		c = s.channel(n.channel)
	}
	defer c.mu.Unlock()
	sub := &subscription[P]{member: m}
	if !positioned {
		m.enter(sub, c)
		joined(Standing[P]{})
		return nil
	}
	replayed, missing, err := m.replay(c, from)
	if err != nil {
		c.drop()
		return err
	}
	sub.since = s.last
	m.enter(sub, c)
	standing := Standing[P]{Position: s.position(), Missing: missing}
	for _, k := range replayed {
		standing.Replayed = append(standing.Replayed, c.payload(k.offset, c.ring.text(k)))
	}
	if m.track != nil {
		m.track.replayed(n.channel, s.last, replayed)
	}
	s.hub.replayed.Add(uint64(len(replayed)))
	joined(standing)
	return nil
}

// settled reports whether nothing needs to be done, or nothing is allowed. The
// caller holds mu.
func (m *Member[P]) settled(channel string, limit int, from From, joined func(Standing[P])) (done bool, err error) {
	switch {
	case m.stream == nil:
		return true, ErrClosed
	case m.find(channel) >= 0:
		return true, m.stands(channel, from, joined)
	case m.len() >= limit && !IsHidden(channel):
		return true, ErrTooMany
	}
	return false, nil
}

// enter puts a subscription into a channel. The caller holds mu and the
// channel's.
func (m *Member[P]) enter(sub *subscription[P], c *channel[P]) {
	sub.channel, sub.index = c, len(c.subs)
	c.subs, c.filled = append(c.subs, sub), 0
	m.add(sub)
	m.stream.hub.count(c, 1)
}

// count counts a subscription of a channel, which it now has, or with -1 one that it
// no longer has. The caller holds the channel's mu.
func (h *Hub[P]) count(c *channel[P], n int) {
	if IsHidden(c.name.channel) {
		return
	}
	h.subs.Add(int64(n))
	if len(c.subs) == max(n, 0) { // the first, or the last
		h.occupied.Add(int64(n))
		if h.observe != nil {
			h.observe(c.name.app, c.name.channel, n > 0)
		}
	}
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
	m.leaveAt(i)
	return true
}

// Expel is Unsubscribe for a client that has not asked for it. told sends the client
// word of it; it must not block or call the hub. A client that may not have got that
// word before its connection broke cannot recover: it would take itself for a
// subscriber of the channel.
func (m *Member[P]) Expel(channel string, told func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.find(channel)
	if i < 0 {
		return false
	}
	if m.track != nil && m.track.session != nil {
		s := m.stream
		s.mu.Lock() // told comes before the message that proves that it was received
		defer s.mu.Unlock()
		m.track.expelled = s.last + 1
	}
	m.leaveAt(i)
	told()
	return true
}

// leaveAt takes the member out of its i-th channel. The caller holds mu.
func (m *Member[P]) leaveAt(i int) {
	m.leave(m.subs[i])
	m.remove(i)
	if m.track != nil {
		m.track.left = true
		if m.track.session != nil {
			m.track.session.changes()
		}
	}
}

// Len returns the number of channels that the member is in, without hidden ones.
func (m *Member[P]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.len()
}

// In reports whether the member is in a channel.
func (m *Member[P]) In(channel string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.find(channel) >= 0
}

// Channels returns the channels that the member is in, without hidden ones, in the
// order in which it joined them.
func (m *Member[P]) Channels() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, m.len())
	for _, sub := range m.subs {
		if sub != nil && !IsHidden(sub.channel.name.channel) {
			names = append(names, sub.channel.name.channel)
		}
	}
	return names
}

// Close takes the member out of all channels, permanently, and ends its session
// if it has one.
func (m *Member[P]) Close() {
	if s := m.session(); s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.member == m { // otherwise it has come back on another connection
			s.member = nil
			s.end()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stream == nil {
		return
	}
	for _, sub := range m.subs {
		if sub != nil {
			m.leave(sub)
		}
	}
	m.stream, m.subs, m.index, m.track, m.hidden = nil, nil, nil, nil, 0
}

// leave takes a subscription out of its channel, and removes the channel's
// record from the hub if nothing is left of it. The caller holds mu.
func (m *Member[P]) leave(sub *subscription[P]) {
	c := sub.channel
	c.mu.Lock()
	c.remove(sub)
	c.drop()
	c.mu.Unlock()
	if in := m.stream.hub.interests; in != nil {
		in.release(c.name)
	}
}

// pin takes a subscription out of its channel, but keeps the channel's record,
// and the broker's interest in it. The caller holds mu.
func (m *Member[P]) pin(sub *subscription[P]) {
	c := sub.channel
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(sub)
	c.pins++
}

// unpin undoes pin for a session that has ended.
func (c *channel[P]) unpin() {
	c.mu.Lock()
	c.pins--
	c.drop()
	c.mu.Unlock()
	if in := c.stream.hub.interests; in != nil {
		in.release(c.name)
	}
}

// remove removes a subscription. The caller holds mu.
func (c *channel[P]) remove(sub *subscription[P]) {
	last := len(c.subs) - 1
	moved := c.subs[last]
	c.subs[sub.index], moved.index = moved, sub.index
	c.subs[last] = nil
	c.subs = c.subs[:last]
	if cap(c.subs) > 64 && len(c.subs) < cap(c.subs)/4 {
		c.subs = append(make([]*subscription[P], 0, 2*len(c.subs)), c.subs...)
	}
	c.stream.hub.count(c, -1)
}
