package token

import (
	"slices"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// Grace is how long after its exp a token that is in use is still good, so that
// its client can get another one.
const Grace = 25 * time.Second

// Check returns an error if a token that was verified before is no longer good at
// now: it expired longer than Grace ago, its signing key or its user's tokens were
// revoked, or the key expired.
func (t *Token) Check(app *keystore.App, now time.Time) error {
	i := slices.IndexFunc(app.Keys, func(k keystore.Key) bool { return k.ID == t.Key })
	switch {
	case i < 0 || app.Keys[i].Check(now) != nil:
		return apierr.InvalidToken("The key that signed the token is no longer valid. Get a new token, which another key of the app has signed.")
	case revoked(app, t):
		return apierr.TokenRevoked()
	case !now.Before(t.Expires.Add(Grace)):
		return apierr.TokenExpired(t.Expires)
	}
	return nil
}
