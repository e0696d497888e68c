// Package presence knows which users are in which channels, and tells the
// channels' subscribers.
//
// A user is a member of a channel while at least one of its sockets is in it, and
// for the app's grace after the last has left, so that reloading a page is
// silent. A subscriber gets a [Snapshot] when it joins a channel, and afterwards
//
//	realtime:joined {channel, id, info}  the first socket of a user has joined
//	realtime:left   {channel, id}        the grace after the last one has ended
//
// Further sockets of a user are silent. The info of the newest one is shown in
// later snapshots; nobody is told that it has changed.
//
// # Large channels
//
// A channel becomes large with its 1,001st member. Instead of joined and left,
// its subscribers then get the count, at most once a second:
//
//	realtime:presence {channel, count}
//
// Snapshots of a large channel have its first 1,000 members and Truncated: the
// list is not kept up to date. A channel stays large for at least 10 s, so that
// one near the limit does not send its members over and over. After that, as
// soon as it has at most 1,000 members, its subscribers get all of them, which
// replace any list that they have, and joined and left resume:
//
//	realtime:presence {channel, count, members}
//
// A client always knows the count, at most a second late: that of its newest
// snapshot or realtime:presence, plus one for each joined and minus one for each
// left since.
//
// # Several machines
//
// With [Presence.Share], a user is also a member while another machine says so. What
// changes on this machine is told to the [Sharer], which carries it to the other
// machines; what they say is applied with Set and Replace, and so is the info of the
// newest socket, wherever that is. The grace is that of the machine where the user's last
// socket was.
//
// # Locks
//
// Every change of a channel is made inside the function that is passed to
// announce, which runs it under a lock of the channel. Snapshot must be called
// under the same lock when a subscriber joins; then it is ordered with the
// events. The package's own mutex is locked after the channel's, is held briefly,
// and never while announce is called.
package presence

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"time"
)

// Announce runs change exactly once, under the lock of a channel, and then, if ok,
// queues the event for the channel's subscribers. data is one of Joined, Left,
// Count and Full.
type Announce func(app, channel string, change func() (event string, data any, ok bool))

// A Presence knows the members of the channels of all apps. Its methods can be
// called concurrently, but Join, Leave and Close must not be called under a
// channel's lock.
type Presence struct {
	announce Announce
	grace    func(app string) time.Duration
	began    time.Time
	most     int      // Most; less in tests
	observe  Observer // can be nil
	share    Sharer   // can be nil

	mu     sync.Mutex // guards everything below, and what it leads to; locked after a channel's lock
	apps   map[string]*app
	timers timers

	wake   chan struct{} // gets a value when another timer is the first
	closed chan struct{}
	close  sync.Once
	owner  sync.WaitGroup
}

// New creates a Presence. grace returns for how long a user of an app remains a
// member after its last socket has left. Close ends it.
func New(announce Announce, grace func(app string) time.Duration) *Presence {
	p := &Presence{
		announce: announce, grace: grace, began: time.Now(), most: Most,
		apps: make(map[string]*app),
		wake: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	p.owner.Go(p.run)
	return p
}

// An Observer is told that a user is a member of a channel, or no longer one. It is
// called under the channel's lock and must not block or call the Presence. info is
// what others see of the user.
type Observer func(app, channel, user string, info json.RawMessage, member bool)

// Observe has f called for each change, also in large channels. Call it before the
// first Join.
func (p *Presence) Observe(f Observer) { p.observe = f }

// tellObserver tells the observer, if there is one, of a member. The caller holds mu.
func (p *Presence) tellObserver(m *member, is bool) {
	if p.observe != nil {
		p.observe(m.channel.app.name, m.channel.name, m.user.name, m.info, is)
	}
}

// Close stops the timers. Once it has returned, no member's grace ends, and only
// Join, Leave and what other machines say announce anything. The observer is told that
// all members have left; the Sharer is told nothing.
func (p *Presence) Close() {
	p.close.Do(func() { close(p.closed) })
	p.owner.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.apps {
		for _, m := range a.members.All() {
			p.tellObserver(m, false)
		}
	}
}

// Join adds a socket of a user to a channel. info is what others see of the user:
// valid JSON, or nil. Call it before the socket subscribes, so that the snapshot
// that the socket gets includes the user.
func (p *Presence) Join(app, channel, user string, info json.RawMessage) {
	p.announce(app, channel, func() (string, any, bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		a := p.app(app)
		c, u := a.channel(channel), a.user(user)
		m := a.members.Get(place{c, u})
		if m == nil {
			m = &member{channel: c, user: u, info: u.share(info), sockets: 1}
			m.own = m.info
			a.add(m)
			p.tellObserver(m, true)
			p.tellSharer(m)
			return p.joined(m)
		}
		if changed := !bytes.Equal(m.info, info) || !bytes.Equal(m.own, info); changed || !m.here() {
			m.info = u.share(info)
			m.own = m.info
			p.tellSharer(m)
		}
		m.sockets++
		p.stop(m.timer)
		m.timer = nil
		return "", nil, false
	})
}

// Leave removes a socket of a user from a channel. Call it once for each Join.
func (p *Presence) Leave(app, channel, user string) {
	if !p.isMember(app, channel, user) { // announcing could create records of a forgotten app
		return
	}
	grace := p.grace(app)
	p.announce(app, channel, func() (string, any, bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		m := p.find(app, channel, user)
		if m == nil || m.sockets == 0 {
			return "", nil, false
		}
		m.sockets--
		switch {
		case m.sockets > 0:
			return "", nil, false
		case grace > 0:
			m.timer = p.start(&timer{at: p.now() + grace, channel: m.channel, member: m})
			return "", nil, false
		}
		return p.end(m)
	})
}

// end ends a user's membership on this machine. The caller holds mu.
func (p *Presence) end(m *member) (event string, data any, ok bool) {
	p.tellSharer(m)
	if m.elsewhere {
		return "", nil, false
	}
	return p.left(m)
}

// expire ends a timer that is due, unless it was stopped meanwhile.
func (p *Presence) expire(t *timer) {
	p.announce(t.channel.app.name, t.channel.name, func() (string, any, bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case t.stopped:
			return "", nil, false
		case t.member != nil:
			t.member.timer = nil
			return p.end(t.member)
		}
		t.channel.large.timer = nil
		return p.tell(t.channel)
	})
}

// joined is what subscribers are told of a new member. The caller holds mu.
func (p *Presence) joined(m *member) (event string, data any, ok bool) {
	c := m.channel
	if c.large == nil && c.count > p.most {
		c.grow(p.now())
	}
	if c.large != nil {
		return p.tell(c)
	}
	return EventJoined, Joined{c.name, m.user.name, m.info}, true
}

// left removes a member and returns what subscribers are told. The caller holds
// mu.
func (p *Presence) left(m *member) (event string, data any, ok bool) {
	c := m.channel
	p.tellObserver(m, false)
	c.app.remove(m)
	if c.large != nil {
		return p.tell(c)
	}
	p.tidy(c)
	return EventLeft, Left{c.name, m.user.name}, true
}

// tidy removes the records of a channel and its app if they are empty. The caller holds mu.
func (p *Presence) tidy(c *channel) {
	a := c.app
	if c.count == 0 && c.large == nil {
		a.channels.Delete(c.name)
	}
	if a.channels.Len() == 0 {
		delete(p.apps, a.name)
	}
}

// Forget drops the state of an app that is gone for good and has no subscribers.
// Nothing is announced.
func (p *Presence) Forget(app string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.apps[app]
	if a == nil {
		return
	}
	for _, m := range a.members.All() {
		p.stop(m.timer)
		p.tellSharer(m)
	}
	for _, c := range a.channels.All() {
		if c.large != nil {
			p.stop(c.large.timer)
		}
	}
	delete(p.apps, app)
}

// app finds or creates the record of an app. The caller holds mu.
func (p *Presence) app(name string) *app {
	a := p.apps[name]
	if a == nil {
		a = &app{name: strings.Clone(name)}
		p.apps[a.name] = a
	}
	return a
}

// find returns a user's membership in a channel, or nil. The caller holds mu.
func (p *Presence) find(app, channel, user string) *member {
	a := p.apps[app]
	if a == nil {
		return nil
	}
	return a.members.Get(place{a.channels.Get(channel), a.users.Get(user)})
}

func (p *Presence) isMember(app, channel, user string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.find(app, channel, user) != nil
}

// now is the time since p was created.
func (p *Presence) now() time.Duration { return time.Since(p.began) }
