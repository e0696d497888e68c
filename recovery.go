package realtime

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/live"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
	"github.com/seed-c079cc48/caddy-realtime/webhook"
)

// A recoverRequest is what a client's auth says about recovery. The application
// sets recover; a stock client adds the others when it comes back.
//
// https://socket.io/docs/v4/connection-state-recovery
type recoverRequest struct {
	recover  bool
	pid      string // of the session that it had; "" if it had none
	position string // the ID of the last event that it got, or ""
}

// readRecoverRequest reads auth. The fields that stock clients add belong to the
// application if it has not asked for recovery.
func readRecoverRequest(fields map[string]json.RawMessage) (asked recoverRequest, err error) {
	switch raw := fields["recover"]; {
	case raw == nil, bytes.Equal(raw, []byte("null")), bytes.Equal(raw, []byte("false")):
		return asked, nil
	case !bytes.Equal(raw, []byte("true")):
		return asked, apierr.InvalidRequest("auth.recover must be true or false.")
	}
	asked.recover = true
	if json.Unmarshal(fields["pid"], &asked.pid) != nil {
		return asked, nil //nolint:nilerr // not from a stock client: it has nothing to recover
	}
	if raw, ok := fields["offset"]; ok && (json.Unmarshal(raw, &asked.position) != nil || asked.position == "") {
		asked.position = "?" // none that this server has sent
	}
	return asked, nil
}

// recover makes the socket that of a client that comes back, and answers its
// CONNECT. Otherwise it returns false, and the client must begin again.
func (s *socket) recover(app *keystore.App, asked recoverRequest) bool {
	rt := s.runtime
	if !asked.recover || asked.pid == "" || rt.settings().recovery(app) <= 0 {
		return false
	}
	s.confirm(app, asked)
	// The session has a place, whether it is away or not.
	rt.sockets.hold(app.ID)
	r := hub.Return[*socketio.Broadcast]{
		App: app.ID, PID: asked.pid, Position: asked.position, To: s,
		Owner: s.rights.Load(), Owns: s.owns, Allow: s.mayRecover,
		Answer: func(session *hub.Session[*socketio.Broadcast], missed []*socketio.Broadcast) {
			s.conn.Open(session.ID(), session.PID(), s.packets(missed)...)
		},
	}
	member, outcome := rt.hub.Recover(&r)
	if outcome == hub.NoSession && s.fetch(app, asked) {
		member, outcome = rt.hub.Recover(&r)
	}
	rt.stats.Recovered(string(outcome))
	if replaced, ok := r.Replaced.(*socket); ok {
		replaced.replace()
	}
	if outcome != hub.Recovered {
		rt.sockets.release(app.ID)
		return false
	}
	s.admitted, s.member = true, member
	return true
}

// owns reports whether the socket's user is that of a session.
func (s *socket) owns(owner hub.Owner) bool {
	return owner != nil && owner.User() == s.rights.Load().User()
}

// mayRecover reports whether the socket may have its user's session, whose owner it
// was until now, and makes the owner's rights its own if so.
func (s *socket) mayRecover(owner hub.Owner, channels []string) bool {
	app, ok := s.runtime.registry.App(s.app) // as it is now: a right may just have been taken
	if !ok {
		return false
	}
	r, now := s.rights.Load(), time.Now()
	if former, ok := owner.(*rights); ok && former.withdrawn(app, now) {
		return false
	}
	heir := r.heir(owner, app, now)
	may := func(channel string) bool {
		if hub.IsHidden(channel) {
			return heir.hears(app, channel, now)
		}
		return heir.check(app, app.Rule(channel), channel, now) == nil
	}
	for _, channel := range channels {
		if !may(channel) {
			return false
		}
	}
	r.adopt(heir)
	return true
}

// disconnect ends the socket because the gateway or an operator wants it. Its client
// cannot come back, also before it has closed the connection, which may be half open.
func (s *socket) disconnect(reason string) {
	s.rights.Load().disown()
	s.conn.Disconnect(reason)
}

// replace ends a socket whose client has come back on another connection.
func (s *socket) replace() {
	const reason = "replaced"
	s.tell(live.Event{Kind: live.Disconnected, Reason: reason})
	s.tellHooks(webhook.ConnectionClosed, reason)
	s.since.Store(0)
	s.runtime.sockets.leave(s.app, s)
	s.conn.Session().Abort(reason)
}

// interrupt ends a socket whose client may have missed messages, so that it comes back
// and begins again.
func interrupt(of hub.Subscriber[*socketio.Broadcast]) {
	of.(*socket).conn.Session().Abort("messages were lost")
}

// returnTime returns how long the client of a socket that ended for that reason
// can still recover.
func (s *socket) returnTime(reason string) time.Duration {
	switch engineio.Reason(reason) {
	case engineio.TransportClose, engineio.TransportError, engineio.PingTimeout, engineio.ServerShutdown, engineio.SlowClient, socketio.ConnectTimeout, tokenEnded:
	default: // the client or the server wanted it, or the client broke the rules
		return 0
	}
	app, ok := s.runtime.registry.App(s.app)
	if !ok {
		return 0
	}
	return s.runtime.settings().recovery(app)
}

// packet returns a broadcast in the form that the client asked for.
func (s *socket) packet(b *socketio.Broadcast) *engineio.Packet {
	if s.recovers {
		return b.Identified()
	}
	return b.Plain()
}

func (s *socket) packets(all []*socketio.Broadcast) []*engineio.Packet {
	packets := make([]*engineio.Packet, len(all))
	for i, b := range all {
		packets[i] = s.packet(b)
	}
	return packets
}

// admitSocket admits a socket unless its app has too many. Sessions that are away
// count, too, but make room.
func (rt *runtime) admitSocket(app *keystore.App) bool {
	if !rt.sockets.admit(app.ID, app.MaxConnections) {
		return false
	}
	if limit := app.MaxConnections; limit > 0 {
		if over := rt.sockets.Count(app.ID) + rt.hub.Away(app.ID) - limit; over > 0 {
			rt.hub.EndAway(app.ID, over)
		}
	}
	return true
}
