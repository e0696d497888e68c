package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/presence"
	"go.uber.org/zap/zaptest"
)

// A venue is a machine with a hub and its presence. All channels have members, and all
// facts are kept.
type venue struct {
	*node
	hub      *hub.Hub[any]
	presence *presence.Presence
	grace    atomic.Int64
	ending   sync.Once
}

// venue returns a machine whose grace is zero.
func newVenue(t testing.TB, url, name string, lease time.Duration) *venue {
	t.Helper()
	module := Broker{Server{URL: url}}
	if err := module.provision("broker"); err != nil {
		t.Fatal(err)
	}
	opened, err := module.Open(zaptest.NewLogger(t, zaptest.Level(zapLevel)))
	if err != nil {
		t.Fatal(err)
	}
	b := opened.(*broker)
	b.lease = lease
	v := &venue{node: &node{machine: &machine{broker: b, t: t}, id: name + strings.Repeat("0", cluster.IDLength-len(name))}}
	v.hub, err = hub.New(opened, hub.Codec[any]{
		Encode:  func(m *hub.Message) any { return m.Event },
		Text:    func(p any) []byte { return []byte(fmt.Sprint(p)) },
		Payload: func(text []byte, _ string) (any, error) { return string(text), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	v.presence = presence.New(func(app, channel string, change func() (string, any, bool)) {
		v.hub.Announce(app, channel, "", func() (any, bool) {
			_, data, ok := change()
			return data, ok
		})
	}, func(string) time.Duration { return time.Duration(v.grace.Load()) })
	v.presence.Share(b.PresenceChanged)
	t.Cleanup(v.close)
	if err := b.Join(cluster.Machine{ID: v.id}, v); err != nil {
		t.Fatal(err)
	}
	b.SharePresence(v)
	return v
}

// close ends the machine as planned.
func (v *venue) close() {
	v.ending.Do(func() {
		v.presence.Close()
		if err := v.hub.Close(); err != nil {
			v.t.Error(err)
		}
	})
}

// venues returns machines that know each other.
func venues(t testing.TB, url string, names ...string) (all []*venue) {
	t.Helper()
	var nodes []*node
	for _, name := range names {
		all = append(all, newVenue(t, url, name, shortLease))
		nodes = append(nodes, all[len(all)-1].node)
	}
	know(t, nodes...)
	return all
}

// Has implements cluster.Members.
func (*venue) Has(_, channel string) bool { return channel != "plain" }

// Facts implements cluster.Members.
func (*venue) Facts(string, string) (occupancy, members bool) { return true, true }

// Grace implements cluster.Members.
func (v *venue) Grace() time.Duration { return time.Duration(v.grace.Load()) }

// Here implements cluster.Members.
func (v *venue) Here(app, channel, user string) (json.RawMessage, bool) {
	return v.presence.Here(app, channel, user)
}

// EachHere implements cluster.Members.
func (v *venue) EachHere(f func(app, channel string, members []cluster.ChannelMember)) {
	for _, app := range v.presence.Apps() {
		for _, channel := range v.presence.ChannelsHere(app) {
			var all []cluster.ChannelMember
			for _, m := range v.presence.SaidHere(app, channel) {
				all = append(all, cluster.ChannelMember{User: m.ID, Info: m.Info})
			}
			f(app, channel, all)
		}
	}
}

// Set implements cluster.Members.
func (v *venue) Set(app, channel, user string, info json.RawMessage, is bool) {
	v.presence.Set(app, channel, user, info, is)
}

// Replace implements cluster.Members.
func (v *venue) Replace(app, channel string, members []cluster.ChannelMember) {
	all := make([]presence.Member, len(members))
	for i, m := range members {
		all[i] = presence.Member{ID: m.User, Info: m.Info}
	}
	v.presence.Replace(app, channel, all)
}

// Forgotten implements cluster.Members.
func (v *venue) Forgotten(app, channel string) { v.presence.Replace(app, channel, nil) }

// A guest is a socket, of a user or of none, that believes what it is told of one
// channel.
type guest struct {
	venue   *venue
	channel string
	user    string
	member  *hub.Member[any]

	mu       sync.Mutex // guards everything below
	believes map[string]bool
	told     []string // + and the user, or - and the user
}

func (*guest) ID() string { return "guest" }

// Queue implements hub.Receiver.
func (g *guest) Queue(data any) hub.Flusher {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch d := data.(type) {
	case presence.Joined:
		if g.believes[d.ID] {
			g.venue.t.Errorf("on %s, %s has joined %s twice", g.venue.id, d.ID, g.channel)
		}
		g.believes[d.ID] = true
		g.told = append(g.told, "+"+d.ID)
	case presence.Left:
		if !g.believes[d.ID] {
			g.venue.t.Errorf("on %s, %s has left %s without having joined", g.venue.id, d.ID, g.channel)
		}
		delete(g.believes, d.ID)
		g.told = append(g.told, "-"+d.ID)
	}
	return nil
}

func (g *guest) knows() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(g.believes)), " ")
}

func (g *guest) heard() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.told, " ")
}

func (g *guest) expect(users string) {
	g.venue.t.Helper()
	until(g.venue.t, fmt.Sprintf("on %s, %q are in %s, not %q", g.venue.id, users, g.channel, g.knows()), func() bool { return g.knows() == users })
}

// enter is a socket of a user, or of none, that subscribes to a channel.
func (v *venue) enter(channel, user string) *guest {
	v.t.Helper()
	g, err := v.tryEnter(channel, user)
	if err != nil {
		v.t.Fatal(err)
	}
	return g
}

func (v *venue) tryEnter(channel, user string) (*guest, error) {
	g := &guest{venue: v, channel: channel, user: user, believes: make(map[string]bool)}
	g.member = v.hub.Join("app", g)
	if user != "" {
		v.presence.Join("app", channel, user, json.RawMessage(`{"of":"`+user+`"}`))
	}
	err := g.member.Subscribe(context.Background(), channel, 10, hub.From{}, func(hub.Standing[any]) {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, m := range v.presence.Snapshot("app", channel).Members {
			if string(m.Info) != `{"of":"`+m.ID+`"}` {
				v.t.Errorf("%s has the info %s", m.ID, m.Info)
			}
			g.believes[m.ID] = true
		}
	})
	if err != nil {
		g.leave()
	}
	return g, err
}

// caughtUp waits until the machine has told Redis everything, and has heard of it.
func (v *venue) caughtUp(channel string) {
	v.t.Helper()
	a, r := v.app("app"), v.lane("app").register
	until(v.t, "all is said and heard", func() bool {
		r.mu.Lock()
		said := len(r.changed) == 0 && !r.compare
		r.mu.Unlock()
		last, err := v.client.Do(v.t.Context(), v.client.B().Hget().Key(a.changesKey()).Field("n").Build()).AsUint64()
		a.mu.Lock()
		s := a.subs[channel]
		a.mu.Unlock()
		s.copy.mu.Lock()
		defer s.copy.mu.Unlock()
		return said && err == nil && s.copy.at.Offset == last
	})
}

func (g *guest) leave() {
	g.member.Close()
	if g.user != "" {
		g.venue.presence.Leave("app", g.channel, g.user)
	}
}

// facts returns what the app's facts say.
func (v *venue) facts() (all []string) {
	v.t.Helper()
	entries, err := v.client.Do(v.t.Context(), v.client.B().Xrange().Key(v.app("app").base+"f").Start("-").End("+").Build()).AsXRange()
	if err != nil {
		v.t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, strings.TrimSpace(strings.Join([]string{e.FieldValues["t"], e.FieldValues["c"], e.FieldValues["u"]}, " ")))
	}
	return all
}
