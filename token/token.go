// Package token verifies the tokens of clients: JWTs (RFC 7519) that a backend
// signs with one of its app's signing keys, and that say who a client is and which
// channels it may subscribe to.
package token

import (
	"encoding/json"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/pattern"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// The bounds of a token. keystore has those that concern time.
const (
	MaxSize   = 8192 // bytes
	maxHeader = 512  // bytes of JSON; reading it costs before the signature is verified
	MaxGrants = 100
	MaxInfo   = 1024 // bytes of compact JSON
)

// A Token is what a verified token says. It is valid when it was verified; whoever
// keeps it checks Expires and the revoked users.
type Token struct {
	// User is the claim sub, or "".
	User string

	// Expires is the claim exp. TokenLeeway is not included.
	Expires time.Time

	// Issued is the claim iat; zero if there is none.
	Issued time.Time

	// Grants is the claim channels.
	Grants []Grant

	// Info is the claim info as compact JSON, for those who are present with the
	// user; nil if there is none. A token without a user has none.
	Info json.RawMessage

	// Key is the id of the signing key that verified the token.
	Key string
}

// A Grant allows to subscribe to the channels that it matches.
type Grant struct {
	// Match is a channel's name, or a prefix of names followed by one *.
	Match string

	// ClientEvents allows to send events to the others in the channel, if the
	// channel's rule does too.
	ClientEvents bool
}

// Allows reports whether any grant matches a channel, and whether any of those that
// do allows client events.
func (t *Token) Allows(channel string) (clientEvents, ok bool) {
	for i := range t.Grants {
		if g := &t.Grants[i]; pattern.Matches(g.Match, channel) {
			if g.ClientEvents {
				return true, true
			}
			ok = true
		}
	}
	return false, ok
}

// Verify returns what a token says if it is valid at now: signed with one of the
// app's valid signing keys, not expired, and not of a revoked user. The errors are
// of type [*apierr.Error], and none of them repeats the token.
func Verify(app *keystore.App, raw string, now time.Time) (*Token, error) {
	p, err := split(raw)
	if err != nil {
		return nil, err
	}
	h, err := readHeader(p.header)
	if err != nil {
		return nil, err
	}
	keys, err := h.candidates(app, now)
	if err != nil {
		return nil, err
	}
	key, payload, err := p.verify(h, keys)
	if err != nil {
		return nil, err
	}
	c, err := readClaims(payload)
	if err != nil {
		return nil, err
	}
	if err := c.check(now); err != nil {
		return nil, err
	}
	if revoked(app, &c.Token) {
		return nil, apierr.TokenRevoked()
	}
	c.Key = key.ID
	return &c.Token, nil
}

// revoked reports whether the token was issued before its user's tokens were
// revoked. Many backends issue in whole seconds, so that the second of the
// revocation counts as before it.
func revoked(app *keystore.App, t *Token) bool {
	if t.User == "" {
		return false
	}
	at, ok := app.RevokedUsers[t.User]
	return ok && (t.Issued.IsZero() || t.Issued.Unix() <= at.Unix())
}

// check checks the times of the token.
func (c *claims) check(now time.Time) error {
	switch {
	case c.Expires.IsZero():
		return apierr.InvalidToken("The token has no exp. Set it to when the token expires, in seconds since 1970, at most %s ahead.",
			text.ShortDuration(keystore.MaxTokenLife))
	case c.Expires.After(now.Add(keystore.MaxTokenLife + keystore.TokenLeeway)):
		return apierr.InvalidToken("The token's exp is %s, more than %s ahead. Let it expire earlier, and issue a new one when it does.",
			c.Expires.Format(time.RFC3339), text.ShortDuration(keystore.MaxTokenLife))
	case c.notBefore.After(now.Add(keystore.TokenLeeway)):
		return apierr.InvalidToken("The token's nbf is %s, which is in the future. Use it later, or set the clock of the server that signs tokens.",
			c.notBefore.Format(time.RFC3339))
	case c.Issued.After(now.Add(keystore.TokenLeeway)):
		return apierr.InvalidToken("The token's iat is %s, which is in the future. Set the clock of the server that signs tokens.",
			c.Issued.Format(time.RFC3339))
	case !now.Before(c.Expires.Add(keystore.TokenLeeway)):
		return apierr.TokenExpired(c.Expires)
	}
	return nil
}
