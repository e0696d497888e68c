package realtime

import (
	"encoding/json"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/presence"
	"github.com/seed-c079cc48/caddy-realtime/webhook"
)

// machineMembers are the members of channels, for the other machines.
type machineMembers struct{ runtime *runtime }

// Has implements cluster.Members.
func (m machineMembers) Has(app, channel string) bool {
	a, ok := m.runtime.registry.App(app)
	return ok && a.Rule(channel).Presence
}

// Facts implements cluster.Members.
func (m machineMembers) Facts(app, channel string) (occupancy, members bool) {
	hooks := m.runtime.hooks.manager
	if hooks == nil {
		return false, false
	}
	return hooks.Wanted(app, webhook.ChannelOccupied, channel) || hooks.Wanted(app, webhook.ChannelVacated, channel),
		hooks.Wanted(app, webhook.MemberJoined, channel) || hooks.Wanted(app, webhook.MemberLeft, channel)
}

// Grace implements cluster.Members.
func (m machineMembers) Grace() time.Duration {
	return time.Duration(*m.runtime.settings().PresenceGrace)
}

// Here implements cluster.Members.
func (m machineMembers) Here(app, channel, user string) (info json.RawMessage, is bool) {
	return m.runtime.presence.Here(app, channel, user)
}

// EachHere implements cluster.Members.
func (m machineMembers) EachHere(f func(app, channel string, members []cluster.ChannelMember)) {
	p := m.runtime.presence
	for _, app := range p.Apps() {
		for _, channel := range p.ChannelsHere(app) {
			here := p.SaidHere(app, channel)
			all := make([]cluster.ChannelMember, len(here))
			for i, member := range here {
				all[i] = cluster.ChannelMember{User: member.ID, Info: member.Info}
			}
			f(app, channel, all)
		}
	}
}

// Set implements cluster.Members.
func (m machineMembers) Set(app, channel, user string, info json.RawMessage, is bool) {
	m.runtime.presence.Set(app, channel, user, info, is)
}

// Replace implements cluster.Members.
func (m machineMembers) Replace(app, channel string, members []cluster.ChannelMember) {
	all := make([]presence.Member, len(members))
	for i, member := range members {
		all[i] = presence.Member{ID: member.User, Info: member.Info}
	}
	m.runtime.presence.Replace(app, channel, all)
}

// Forgotten implements cluster.Members.
func (m machineMembers) Forgotten(app, channel string) {
	m.runtime.presence.Replace(app, channel, nil)
}

// allMembers are the members of channels on all machines, in order of their IDs. Those of
// a machine that does not answer are missing.
type allMembers struct {
	presence *presence.Presence // of this machine
	others   *others
}

// Members implements manage.Presence.
func (m allMembers) Members(app, channel string) []presence.Member {
	all := make(map[string]presence.Member)
	add := func(members []presence.Member) {
		for _, member := range members {
			if known, ok := all[member.ID]; ok {
				known.Sockets += member.Sockets
				all[member.ID] = known
				continue
			}
			all[member.ID] = member
		}
	}
	add(m.presence.MembersHere(app, channel))
	others, _ := askAll[[]presence.Member](m.others, questionMembers, viewQuestion{App: app, Channel: channel})
	for _, members := range ordered(others) {
		add(members)
	}
	return ordered(all)
}

// Count implements manage.Presence.
func (m allMembers) Count(app, channel string) int { return len(m.Members(app, channel)) }

// Interface guards
var (
	_ cluster.Members = machineMembers{}
	_ manage.Presence = allMembers{}
)
