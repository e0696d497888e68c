package token

import (
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// CheckChannel returns an error if the rule of an app's channel does not allow it to a
// client with these tokens, which were verified before; nil ones are skipped. user is
// the client's user, or "".
func CheckChannel(app *keystore.App, rule *keystore.Rule, channel, user string, now time.Time, tokens ...*Token) error {
	switch rule.Access {
	case keystore.AccessOpen:
		return nil
	case keystore.AccessToken: // below
	case keystore.AccessClosed:
		return apierr.ChannelForbidden("The channel is closed to all clients. A rule of the app says so: caddy realtime rule list.")
	}
	if err := anyAllows(app, channel, now, tokens); err != nil {
		return err
	}
	if rule.Presence && user == "" {
		return apierr.ChannelForbidden("The token has no user, whom the others in the channel would see. The backend that signs it sets the claim sub.")
	}
	return nil
}

// anyAllows returns why none of the tokens allows a channel, or nil if one does.
func anyAllows(app *keystore.App, channel string, now time.Time, tokens []*Token) error {
	var refusal error
	shown := false
	for _, t := range tokens {
		if t == nil {
			continue
		}
		shown = true
		err := t.Check(app, now)
		if _, ok := t.Allows(channel); err == nil && ok {
			return nil
		}
		if refusal == nil {
			refusal = err
		}
	}
	switch {
	case refusal != nil:
		return refusal
	case !shown:
		return apierr.TokenRequired(channel)
	}
	return ErrNotListed()
}

// ErrNotListed refuses a channel that a token does not list.
func ErrNotListed() error {
	return apierr.ChannelForbidden("The token does not allow this channel. The backend that signs it lists channels, or patterns such as orders.*, in the claim channels.")
}
