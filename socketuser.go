package realtime

import (
	"context"
	"math"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
	"github.com/seed-c079cc48/caddy-realtime/token"
)

// userChannel returns the hub's channel of a user's sockets. What is published to
// the user is ordered, kept and recovered like everything else.
func userChannel(user string) string { return hub.Hidden("user:" + user) }

// userTimeout bounds how long a client waits for a broker that must be told of its
// user.
const userTimeout = 5 * time.Second

// notReady ends the session of a client that could not join the sockets of its user.
const notReady engineio.Reason = "not ready"

// joinUser puts the socket into the channel of its user, if it has one. joined is
// called exactly once if there is no error, before the channel's first message.
func (s *socket) joinUser(joined func()) error {
	user := s.rights.Load().name()
	if user == "" {
		joined()
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), userTimeout)
	defer cancel()
	err := s.member.Subscribe(ctx, userChannel(user), math.MaxInt, hub.From{}, func(hub.Standing[*socketio.Broadcast]) { joined() })
	if err != nil {
		s.runtime.faults.join.Log(s.runtime.log.Error, "a socket could not join those of its user", zap.String("app", s.app), zap.Error(err))
		return apierr.Unavailable("The server could not prepare what is published to the user. Try again.", time.Second)
	}
	s.settleUser() // its token may have been revoked meanwhile
	return nil
}

// settleUser makes the socket none of its user's any longer if no token says whose
// it is.
func (s *socket) settleUser() {
	r := s.rights.Load()
	r.mu.Lock() // see rights.use
	defer r.mu.Unlock()
	if r.user == "" || r.proof != nil {
		return
	}
	s.runtime.sockets.exit(s)
	s.member.Unsubscribe(userChannel(r.user))
}

// prove keeps the token of a user that is good for longest. The caller holds mu.
func (r *rights) prove(t *token.Token) {
	if t != nil && t.User != "" && (r.proof == nil || t.Expires.After(r.proof.Expires)) {
		r.proof = t
	}
}

// dropProof is drop for what says who the user is. The caller holds mu.
func (r *rights) dropProof(app *keystore.App, now time.Time) {
	if r.proof == nil || r.proof.Check(app, now) == nil {
		return
	}
	r.proof = nil
	r.prove(r.whole.Token)
	for _, t := range r.of {
		r.prove(t.Token)
	}
}

// hears reports whether a hidden channel is that of the user.
func (r *rights) hears(app *keystore.App, channel string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.proof != nil && userChannel(r.user) == channel && r.proof.Check(app, now) == nil
}
