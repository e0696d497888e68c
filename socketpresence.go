package realtime

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/presence"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// newPresence returns the presence of a runtime's hub.
func (rt *runtime) newPresence() *presence.Presence {
	announce := func(app, channel string, change func() (event string, data any, ok bool)) {
		rt.hub.Announce(app, channel, "", func() (*socketio.Broadcast, bool) {
			event, data, ok := change()
			if !ok {
				return nil, false
			}
			return socketio.NewBroadcast(event, mustJSON(data), ""), true
		})
	}
	return presence.New(announce, func(string) time.Duration { return time.Duration(*rt.settings().PresenceGrace) })
}

// mustJSON encodes a struct of texts, numbers and valid JSON.
func mustJSON(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// attend makes the socket's user a member of a channel whose rule has presence, or
// no longer one. It reports whether the user has become one.
func (s *socket) attend(rule *keystore.Rule, channel string) bool {
	r := s.rights.Load()
	if r == nil {
		return false
	}
	user, info := r.visible(channel)
	if !rule.Presence || user == "" {
		s.absent(channel)
		return false
	}
	if !r.enter(channel) {
		return false
	}
	s.runtime.presence.Join(s.app, channel, user, info)
	return true
}

// attendAgain is for a client that has come back, which has missed who joined and
// left.
func (s *socket) attendAgain(app *keystore.App) {
	for _, channel := range s.member.Channels() {
		if app.Rule(channel).Presence {
			s.attend(app.Rule(channel), channel)
			s.showPresence(channel)
		}
	}
}

// absent undoes attend when the socket has left the channel.
func (s *socket) absent(channel string) {
	if r := s.rights.Load(); r != nil && r.exit(channel) {
		s.runtime.presence.Leave(s.app, channel, r.name())
	}
}

// absentEverywhere undoes attend for all channels.
func (s *socket) absentEverywhere() {
	r := s.rights.Load()
	if r == nil {
		return
	}
	for _, channel := range r.entered() {
		s.absent(channel)
	}
}

// present is the data of realtime:presence for one socket.
type present struct {
	Channel string `json:"channel"`
	presence.Snapshot
}

// showPresence tells the client who is in a channel that it is already in.
func (s *socket) showPresence(channel string) {
	_, _ = s.member.TrySubscribe(channel, 0, hub.From{}, func(hub.Standing[*socketio.Broadcast]) {
		snapshot := s.runtime.presence.Snapshot(s.app, channel)
		s.notify(presence.EventPresence, present{channel, snapshot})
	})
}

// presenceOf returns who is in a channel, or nil if its rule has no presence. It is
// called while the socket joins.
func (s *socket) presenceOf(channel string) *presence.Snapshot {
	app, ok := s.runtime.registry.App(s.app)
	if !ok || !app.Rule(channel).Presence {
		return nil
	}
	snapshot := s.runtime.presence.Snapshot(s.app, channel)
	return &snapshot
}

// visible returns the user that others see in a channel, and what they see of it.
func (r *rights) visible(channel string) (user string, info json.RawMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch t := r.of[channel].Token; {
	case t != nil:
		info = t.Info
	case r.whole.Token != nil:
		info = r.whole.Info
	}
	return r.user, info
}

// name returns the user, or "".
func (r *rights) name() string {
	if r == nil {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.user
}

// enter notes that the user is a member of a channel, unless it is noted or the
// socket has ended.
func (r *rights) enter(channel string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, in := r.in[channel]; in || r.ended {
		return false
	}
	if r.in == nil {
		r.in = make(map[string]struct{})
	}
	r.in[channel] = struct{}{}
	return true
}

// exit undoes enter, and reports whether it was noted.
func (r *rights) exit(channel string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, in := r.in[channel]
	delete(r.in, channel)
	return in
}

func (r *rights) entered() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.in))
}
