package keystore

import (
	"errors"
	"fmt"
	"maps"
	"time"
)

// MaxTokenLife is how far ahead a token can expire.
const MaxTokenLife = 24 * time.Hour

// TokenLeeway is how much the clocks of those who sign tokens can be off.
const TokenLeeway = 30 * time.Second

// MaxRevokedUsers is the maximum number of an app's users whose tokens are
// revoked, within the life of a token.
const MaxRevokedUsers = 10_000

// ErrTooManyRevoked is returned if an app has too many revoked users.
var ErrTooManyRevoked = fmt.Errorf("the tokens of %d users are revoked, which is the maximum", MaxRevokedUsers)

// errNoUser is a mistake of the caller.
var errNoUser = errors.New("no user")

// RevokeUser makes all tokens of a user invalid that were issued until at. The
// errors are [ErrNotFound], [ErrTooManyRevoked], [ErrClosed] and the store's.
func (r *Registry) RevokeUser(app, user string, at time.Time) (*App, error) {
	if user == "" {
		return nil, errNoUser
	}
	return r.Update(app, func(a *App) error {
		maps.DeleteFunc(a.RevokedUsers, func(_ string, was time.Time) bool {
			return at.Sub(was) > MaxTokenLife+2*TokenLeeway
		})
		if a.RevokedUsers == nil {
			a.RevokedUsers = make(map[string]time.Time)
		}
		a.RevokedUsers[user] = at.UTC()
		if len(a.RevokedUsers) > MaxRevokedUsers {
			return ErrTooManyRevoked
		}
		return nil
	})
}
