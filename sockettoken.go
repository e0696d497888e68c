package realtime

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/live"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
	"github.com/seed-c079cc48/caddy-realtime/token"
)

// Reasons why a socket ends because of its token.
const (
	tokenEnded   engineio.Reason = "token expired" // the client can come back with another
	tokenRevoked string          = "token revoked"
)

// useToken verifies a token for the socket, or for one channel if that is not "".
func (s *socket) useToken(raw, channel string) (*token.Token, error) {
	for {
		app, ok := s.runtime.registry.App(s.app)
		if !ok {
			return nil, apierr.UnknownApp(s.app)
		}
		t, err := token.Verify(app, raw, time.Now())
		if err != nil {
			return nil, err
		}
		if _, allowed := t.Allows(channel); channel != "" && !allowed {
			return nil, token.ErrNotListed()
		}
		r := s.rights.Load()
		if r == nil {
			r = new(rights)
			s.rights.Store(r)
		}
		if !s.runtime.sockets.enter(s, t.User, app.MaxConnectionsPerUser) {
			return nil, apierr.TooManyOfUser(app.MaxConnectionsPerUser)
		}
		if err := r.use(t, channel); err != nil {
			s.settleUser()
			return nil, err
		}
		s.runtime.sockets.enter(s, t.User, 0) // the former token may just have expired
		if err := s.joinUser(func() {}); err != nil {
			return nil, err
		}
		r.await(s.tokensDue)
		s.runtime.expiry.Watch(app.ID)
		// A change to the app is either seen here or finds the token.
		if now, ok := s.runtime.registry.App(s.app); ok && now == app {
			return t, nil
		}
	}
}

// mayJoin returns an error if the socket may not be in a channel, which has that rule.
func (s *socket) mayJoin(app *keystore.App, rule *keystore.Rule, channel string) error {
	return s.rights.Load().check(app, rule, channel, time.Now())
}

// renewed acknowledges authenticate.
type renewed struct {
	User    string `json:"user,omitempty"`
	Expires int64  `json:"expires"` // in seconds since 1970, as the claim exp
}

// authenticate replaces the socket's token.
func (s *socket) authenticate(e *socketio.Event) (rest func(context.Context)) {
	t, err := s.renew(e)
	if err != nil {
		refusal := s.visitor.site.explain(apierr.As(err))
		return s.answerGuess(refusal, func() {
			s.tellRefused("authenticate", "", refusal)
			e.Ack(refused{refusal})
		})
	}
	s.recheck()
	e.Ack(renewed{t.User, t.Expires.Unix()})
	return nil
}

func (s *socket) renew(e *socketio.Event) (*token.Token, error) {
	var options struct {
		Token *string `json:"token"`
	}
	if len(e.Args) != 1 || e.Args[0][0] != '{' || json.Unmarshal(e.Args[0], &options) != nil || options.Token == nil {
		return nil, apierr.InvalidRequest(`authenticate takes an object with a token: socket.emit("authenticate", { token }).`)
	}
	return s.useToken(*options.Token, "")
}

// tokenExpiring tells a client to get another token. It names the channel if the token
// is of only one.
type tokenExpiring struct {
	Expires int64  `json:"expires"`
	Channel string `json:"channel,omitempty"`
}

// tokensDue does what is to be done about the socket's tokens by now.
func (s *socket) tokensDue() {
	r := s.rights.Load()
	for channel, expires := range r.takeNotices(time.Now()) {
		s.notify("realtime:token_expiring", tokenExpiring{expires.Unix(), channel})
	}
	s.recheck()
	r.await(s.tokensDue)
}

// recheck takes a socket out of channels that it may no longer be in, or ends it.
func (s *socket) recheck() {
	app, ok := s.runtime.registry.App(s.app)
	if !ok || s.since.Load() == 0 {
		return // it ends anyway, or has yet to be admitted
	}
	r, now := s.rights.Load(), time.Now()
	if r != nil {
		why, key := r.failing(app, now), s.key.Load()
		switch {
		case why == nil:
		case apierr.As(why).Code == apierr.TokenRevoked().Code:
			s.disconnect(tokenRevoked)
			return
		case key != nil && key.Kind == keystore.Sign:
			// Its client can come back, so it keeps all that it has until it has gone.
			s.conn.Session().Abort(tokenEnded)
			return
		}
		defer func() {
			r.drop(app, now)
			s.settleUser()
		}()
	}
	for _, channel := range s.member.Channels() {
		rule := app.Rule(channel)
		if s.stays(app, rule, channel) && s.attend(rule, channel) {
			s.showPresence(channel)
		}
	}
}

// stays takes the socket out of a channel, which has that rule, if it may no longer be
// in it, and reports whether it may.
func (s *socket) stays(app *keystore.App, rule *keystore.Rule, channel string) bool {
	err := s.mayJoin(app, rule, channel)
	if err != nil {
		s.expel(channel, apierr.As(err))
	}
	return err == nil
}

// expelled says which channel a socket had to leave, and why.
type expelled struct {
	Channel string `json:"channel"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// expel takes the socket out of a channel.
func (s *socket) expel(channel string, why *apierr.Error) {
	if !s.member.Expel(channel, func() { s.notify("unsubscribed", expelled{channel, why.Code, why.Message}) }) {
		return
	}
	if r := s.rights.Load(); r != nil {
		r.forget(channel)
	}
	s.absent(channel)
	s.countSubscriptions()
	s.tell(live.Event{Kind: live.Unsubscribed, Channel: channel})
}

// answerGuess answers a refusal, later if it may be one of many attempts to guess.
func (s *socket) answerGuess(refusal *apierr.Error, answer func()) (rest func(context.Context)) {
	if !isGuess(refusal) {
		answer()
		return nil
	}
	return func(ctx context.Context) {
		s.holdGuess(ctx)
		answer()
	}
}

// holdGuess slows down a client whose address sends many wrong credentials.
func (s *socket) holdGuess(ctx context.Context) {
	rate := s.runtime.settings().AuthFailures
	s.runtime.failed.Hold(ctx, s.visitor.ip, rate.Count, time.Duration(rate.Window))
}

// isGuess reports whether a refusal may be one of many attempts to guess
// credentials. A token that was good once is none.
func isGuess(refusal *apierr.Error) bool {
	switch refusal.Code {
	case apierr.TokenExpired(time.Time{}).Code, apierr.TokenRevoked().Code:
		return false
	}
	return refusal.Status == http.StatusUnauthorized
}
