package realtime

import (
	"maps"
	"sync"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/token"
)

// A shown token is one that a client has presented.
type shown struct {
	*token.Token           // nil if it has presented none
	notice       time.Time // when the client is to be told that it expires; zero if it was
}

// rights are what a socket's tokens allow. A socket without tokens has none.
type rights struct {
	mu    sync.Mutex // guards everything below
	user  string     // of the first token that has one
	bound bool       // the user is that of a token of the whole socket
	whole shown
	of    map[string]shown    // of one channel each
	proof *token.Token        // says who the user is; not nil as long as a token does
	in    map[string]struct{} // the channels with presence that the user is a member of

	timer    *time.Timer
	ended    bool
	disowned bool // the gateway has disconnected the socket, which cannot come back

	counted string // the user under which sockets.users counts the socket, or ""; guarded by sockets.mu
}

// expiryNotice is how long before its token expires a client is told.
const expiryNotice = time.Minute

// newShown returns a token that is presented now. The notice of one that expires sooner
// than in expiryNotice comes halfway: at once, a client that answers with another such
// token would do nothing else.
func newShown(t *token.Token, now time.Time) shown {
	ahead := expiryNotice
	if left := t.Expires.Sub(now); left <= expiryNotice {
		ahead = left / 2
	}
	return shown{t, t.Expires.Add(-ahead)}
}

// User implements hub.Owner. A client that had only tokens of single channels comes
// back as who it was without showing them again.
func (r *rights) User() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.bound {
		return ""
	}
	return r.user
}

// use makes a token that of the socket, or of one channel if that is not "". It
// fails if the token is another user's.
func (r *rights) use(t *token.Token, channel string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.user != "" && t.User != r.user {
		return apierr.UserMismatch()
	}
	r.user = t.User
	r.prove(t)
	now := newShown(t, time.Now())
	if channel == "" {
		r.whole, r.bound = now, t.User != ""
		return nil
	}
	if r.of == nil {
		r.of = make(map[string]shown)
	}
	r.of[channel] = now
	return nil
}

// forget drops the token of a channel that the socket has left.
func (r *rights) forget(channel string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.of, channel)
}

// check returns an error if the rule of an app's channel and the tokens do not allow it.
func (r *rights) check(app *keystore.App, rule *keystore.Rule, channel string, now time.Time) error {
	if r == nil {
		return token.CheckChannel(app, rule, channel, "", now)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return token.CheckChannel(app, rule, channel, r.user, now, r.of[channel].Token, r.whole.Token)
}

// heir returns the rights that these become if they take over their user's session:
// with the tokens of single channels that its owner has shown, and the best proof of
// who the user is that is still good.
func (r *rights) heir(owner hub.Owner, app *keystore.App, now time.Time) (heir *rights) {
	former, ok := owner.(*rights)
	if !ok {
		return r // of a process before this one, which kept no tokens
	}
	former.mu.Lock()
	heir = &rights{user: former.user, of: maps.Clone(former.of), proof: former.proof}
	former.mu.Unlock()
	for channel, t := range heir.of {
		heir.of[channel] = newShown(t.Token, now) // it may have missed the notice
	}
	r.mu.Lock()
	heir.whole = r.whole
	r.mu.Unlock()
	heir.prove(heir.whole.Token)
	heir.dropProof(app, now)
	return heir
}

// adopt takes over what heir has returned.
func (r *rights) adopt(heir *rights) {
	if heir == r {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.user, r.of, r.proof = heir.user, heir.of, heir.proof
}

// next returns when something is to be done about a token; zero means never. The
// caller holds mu.
func (r *rights) next() (next time.Time) {
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	due := func(t shown) {
		if !t.notice.IsZero() {
			sooner(t.notice)
		}
		sooner(t.Expires.Add(token.Grace))
	}
	if r.whole.Token != nil {
		due(r.whole)
	}
	for _, t := range r.of {
		due(t)
	}
	if r.proof != nil {
		sooner(r.proof.Expires.Add(token.Grace))
	}
	return next
}

// await has due called when something is to be done about a token.
func (r *rights) await(due func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.next()
	switch {
	case r.ended || next.IsZero():
	case r.timer == nil:
		r.timer = time.AfterFunc(time.Until(next), due)
	default:
		r.timer.Reset(time.Until(next))
	}
}

// takeNotices returns when tokens expire of which the client is to be told now, by
// channel; that of the socket's own token is "".
func (r *rights) takeNotices(now time.Time) map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return nil
	}
	soon := make(map[string]time.Time)
	take := func(channel string, t *shown) {
		if !t.notice.IsZero() && !now.Before(t.notice) {
			soon[channel], t.notice = t.Expires, time.Time{}
		}
	}
	take("", &r.whole)
	for channel, t := range r.of {
		take(channel, &t)
		r.of[channel] = t
	}
	return soon
}

// failing returns why the socket's own token is no longer good, or nil.
func (r *rights) failing(app *keystore.App, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.whole.Token == nil {
		return nil
	}
	return r.whole.Check(app, now)
}

// disown makes the socket one that cannot come back. r can be nil.
func (r *rights) disown() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.disowned = true
}

// withdrawn reports whether the gateway has disconnected the socket, or would have if
// it had not been away: its user's tokens were revoked since it got its own.
func (r *rights) withdrawn(app *keystore.App, now time.Time) bool {
	why := r.failing(app, now)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.disowned || why != nil && apierr.As(why).Code == apierr.TokenRevoked().Code
}

// drop drops tokens that are no longer good.
func (r *rights) drop(app *keystore.App, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.whole.Token != nil && r.whole.Check(app, now) != nil {
		r.whole = shown{}
	}
	maps.DeleteFunc(r.of, func(_ string, t shown) bool { return t.Check(app, now) != nil })
	r.dropProof(app, now)
}

// end stops the timer.
func (r *rights) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.timer != nil {
		r.timer.Stop()
	}
}
