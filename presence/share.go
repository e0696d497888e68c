package presence

import (
	"bytes"
	"encoding/json"
	"slices"
)

// A Sharer is told that a user has become a member of a channel on this machine, is no
// longer one, or has other info; Here says which. It is called under the channel's lock
// and must not block or call the Presence.
type Sharer func(app, channel, user string)

// Share has the members be those of several machines: f is told of each change on this
// one. Call it before the first Join.
func (p *Presence) Share(f Sharer) { p.share = f }

// tellSharer tells the sharer, if there is one, of a member. The caller holds mu.
func (p *Presence) tellSharer(m *member) {
	if p.share != nil {
		p.share(m.channel.app.name, m.channel.name, m.user.name)
	}
}

// Here reports whether a user is a member of a channel because of this machine, and the
// info of its newest socket here: what this machine says to the others.
func (p *Presence) Here(app, channel, user string) (info json.RawMessage, is bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.find(app, channel, user)
	if m == nil || !m.here() {
		return nil, false
	}
	return m.own, true
}

// MembersHere returns the members of a channel that this machine has, in the order in
// which they have joined, with the info that others see.
func (p *Presence) MembersHere(app, channel string) []Member {
	return p.membersHere(app, channel, (*member).view)
}

// SaidHere returns the members of a channel that this machine has, with the info that
// Here returns.
func (p *Presence) SaidHere(app, channel string) []Member {
	return p.membersHere(app, channel, func(m *member) Member { return Member{ID: m.user.name, Info: m.own} })
}

func (p *Presence) membersHere(app, channel string, view func(*member) Member) []Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Member
	if c := p.channel(app, channel); c != nil {
		for m := c.first; m != nil; m = m.after {
			if m.here() {
				all = append(all, view(m))
			}
		}
	}
	return all
}

// ChannelsHere returns the channels of an app that have members because of this machine.
func (p *Presence) ChannelsHere(app string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	if a := p.apps[app]; a != nil {
		for name, c := range a.channels.All() {
			for m := c.first; m != nil; m = m.after {
				if m.here() {
					names = append(names, name)
					break
				}
			}
		}
	}
	return names
}

// Apps returns the apps that have members.
func (p *Presence) Apps() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := make([]string, 0, len(p.apps))
	for name := range p.apps {
		names = append(names, name)
	}
	return names
}

// Set applies what the machines together say: a user is a member of a channel, with this
// info, or no longer one. One who is here remains a member.
func (p *Presence) Set(app, channel, user string, info json.RawMessage, is bool) {
	if !is && !p.isMember(app, channel, user) {
		return
	}
	p.announce(app, channel, func() (string, any, bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		m := p.find(app, channel, user)
		switch {
		case m == nil && is:
			a := p.app(app)
			c, u := a.channel(channel), a.user(user)
			m = &member{channel: c, user: u, info: u.share(info), elsewhere: true}
			a.add(m)
			return p.joined(m)
		case m == nil:
		case is:
			m.elsewhere = true
			if !bytes.Equal(m.info, info) {
				m.info = m.user.share(info)
			}
		default:
			elsewhere := m.elsewhere
			if m.elsewhere = false; elsewhere && !m.here() {
				return p.left(m)
			}
		}
		return "", nil, false
	})
}

// Replace applies which members a channel has according to all machines together. The
// differences are announced.
func (p *Presence) Replace(app, channel string, members []Member) {
	are := make(map[string]struct{}, len(members))
	for _, m := range members {
		are[m.ID] = struct{}{}
	}
	for _, user := range p.elsewhere(app, channel) {
		if _, is := are[user]; !is {
			p.Set(app, channel, user, nil, false)
		}
	}
	for _, m := range members {
		p.Set(app, channel, m.ID, m.Info, true)
	}
}

// elsewhere returns the users that the machines together count as members.
func (p *Presence) elsewhere(app, channel string) (users []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.channel(app, channel); c != nil {
		for m := c.first; m != nil; m = m.after {
			if m.elsewhere {
				users = append(users, m.user.name)
			}
		}
	}
	return slices.Clip(users)
}
