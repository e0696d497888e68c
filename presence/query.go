package presence

import (
	"math"
	"slices"
)

// Snapshot returns the state of a channel. Call it where the channel's lock is
// held to have it ordered with what is announced.
func (p *Presence) Snapshot(app, channel string) Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.channel(app, channel)
	if c == nil {
		return Snapshot{Members: []Member{}}
	}
	if l := c.large; l != nil && l.told != c.count {
		l.told = unknown // one subscriber knows a count that was not announced
	}
	return Snapshot{Count: c.count, Members: c.list(p.most), Truncated: c.large != nil}
}

// Members returns all members of a channel, in the order in which they have
// joined.
func (p *Presence) Members(app, channel string) []Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.channel(app, channel)
	if c == nil {
		return nil
	}
	return c.list(math.MaxInt)
}

// Count returns the number of a channel's members.
func (p *Presence) Count(app, channel string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.channel(app, channel)
	if c == nil {
		return 0
	}
	return c.count
}

// Users returns the users that are members of channels of an app, in order of
// their names.
func (p *Presence) Users(app string) []string {
	names := p.users(app)
	slices.Sort(names)
	return names
}

func (p *Presence) users(app string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.apps[app]
	if a == nil {
		return nil
	}
	names := make([]string, 0, a.users.Len())
	for name := range a.users.All() {
		names = append(names, name)
	}
	return names
}

// ChannelsOf returns the channels that a user is a member of, in the order in
// which it has joined them.
func (p *Presence) ChannelsOf(app, user string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.apps[app]
	if a == nil {
		return nil
	}
	u := a.users.Get(user)
	if u == nil {
		return nil
	}
	var names []string
	for m := u.first; m != nil; m = m.next {
		names = append(names, m.channel.name)
	}
	return names
}

// channel returns the record of a channel, or nil. The caller holds mu.
func (p *Presence) channel(app, name string) *channel {
	a := p.apps[app]
	if a == nil {
		return nil
	}
	return a.channels.Get(name)
}
