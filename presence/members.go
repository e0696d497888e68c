package presence

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/internal/lean"
)

// An app has the channels that have members, and the users that are members.
type app struct {
	name     string
	channels lean.Map[string, *channel]
	users    lean.Map[string, *user]
	members  lean.Map[place, *member]
}

// A place identifies a member: a user in a channel.
type place struct {
	channel *channel
	user    *user
}

// A channel has a list of its members, in the order in which they have joined.
type channel struct {
	app         *app
	name        string
	first, last *member
	count       int
	large       *large // nil unless it is
}

// A user has a list of the channels that it is in, in the order in which it has
// joined them.
type user struct {
	name        string
	info        json.RawMessage // the newest; members share it
	first, last *member
}

// A member is one user in one channel. Its place in two lists makes joining and
// leaving cost the same, however many there are.
type member struct {
	channel *channel
	user    *user
	info    json.RawMessage // what others see
	own     json.RawMessage // of the newest socket on this machine
	sockets int32           // on this machine
	timer   *timer          // of the grace, while sockets is 0

	// elsewhere means that the machines together count the user as a member, see Share.
	elsewhere bool

	before, after *member // in the channel
	prev, next    *member // of the user
}

// channel finds or creates the record of a channel.
func (a *app) channel(name string) *channel {
	c := a.channels.Get(name)
	if c == nil {
		c = &channel{app: a, name: strings.Clone(name)}
		a.channels.Set(c.name, c)
	}
	return c
}

// user finds or creates the record of a user.
func (a *app) user(name string) *user {
	u := a.users.Get(name)
	if u == nil {
		u = &user{name: strings.Clone(name)}
		a.users.Set(u.name, u)
	}
	return u
}

// share returns a copy of info that all of the user's members use.
func (u *user) share(info json.RawMessage) json.RawMessage {
	if len(info) == 0 {
		return nil
	}
	if !bytes.Equal(u.info, info) {
		u.info = bytes.Clone(info)
	}
	return u.info
}

// here reports whether the user is a member because of this machine.
func (m *member) here() bool { return m.sockets > 0 || m.timer != nil }

// view returns what others see of a member.
func (m *member) view() Member {
	return Member{ID: m.user.name, Info: m.info, Sockets: int(m.sockets)}
}

// add appends a member to its channel and to its user.
func (a *app) add(m *member) {
	c, u := m.channel, m.user
	a.members.Set(place{c, u}, m)
	c.count++
	if m.before = c.last; c.last == nil {
		c.first = m
	} else {
		c.last.after = m
	}
	c.last = m
	if m.prev = u.last; u.last == nil {
		u.first = m
	} else {
		u.last.next = m
	}
	u.last = m
}

// remove removes a member from its channel and from its user, and the user with
// its last channel. It leaves the channel's record.
func (a *app) remove(m *member) {
	c, u := m.channel, m.user
	a.members.Delete(place{c, u})
	c.count--
	if m.before == nil {
		c.first = m.after
	} else {
		m.before.after = m.after
	}
	if m.after == nil {
		c.last = m.before
	} else {
		m.after.before = m.before
	}
	if m.prev == nil {
		u.first = m.next
	} else {
		m.prev.next = m.next
	}
	if m.next == nil {
		u.last = m.prev
	} else {
		m.next.prev = m.prev
	}
	if u.first == nil {
		a.users.Delete(u.name)
	}
}

// list returns the first members of a channel.
func (c *channel) list(most int) []Member {
	all := make([]Member, 0, min(most, c.count))
	for m := c.first; m != nil && len(all) < most; m = m.after {
		all = append(all, m.view())
	}
	return all
}
