package manage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// A User is the view of a user of an app: whoever the tokens of sockets say is it.
type User struct {
	User        string       `json:"user"`
	Sockets     int          `json:"sockets"`
	Connections []Connection `json:"connections"` // a page of the sockets
	Next        *string      `json:"next"`
	Revoked     *time.Time   `json:"revoked"` // tokens issued until then are invalid; null: all may be valid
}

// A UserCount is an entry of the list of users.
type UserCount struct {
	User    string `json:"user"`
	Sockets int    `json:"sockets"`
}

// listUsers answers with a page of the users who have sockets.
func (c *call) listUsers() error {
	query := c.r.URL.Query()
	limit, err := pageLimit(query)
	if err != nil {
		return err
	}
	after := query.Get("after")
	if after != "" && message.CheckUser("after", after) != nil {
		return NotAPlace(after)
	}
	users, next := c.Users(c.app, after, limit, 1)
	page := struct {
		Users []UserCount `json:"users"`
		Next  *string     `json:"next"`
	}{make([]UserCount, 0, len(users)), orNull(next)}
	for _, u := range users {
		page.Users = append(page.Users, UserCount{u.User, u.Sockets})
	}
	respond.JSON(c.w, http.StatusOK, page)
	return nil
}

// showUser answers for any valid user. One without sockets has 0 of them.
func (c *call) showUser() error {
	query := c.r.URL.Query()
	limit, err := pageLimit(query)
	if err != nil {
		return err
	}
	after := query.Get("after")
	if after != "" && !socketio.IsID(after) {
		return NotAPlace(after)
	}
	respond.JSON(c.w, http.StatusOK, c.User(c.app, c.user, after, limit))
	return nil
}

// User returns the view of a user, with at most limit of its sockets after an id.
func (g *Gateway) User(app *keystore.App, user, after string, limit int) User {
	page, next, all := g.Sockets.ListUser(app.ID, user, after, limit)
	return viewUser(app, UserSockets{User: user, Sockets: all, Connections: page, Next: next})
}

func viewUser(app *keystore.App, u UserSockets) User {
	return User{User: u.User, Sockets: u.Sockets, Connections: u.Connections, Next: orNull(u.Next), Revoked: timeOrNull(app.RevokedUsers[u.User])}
}

// Users returns a page of the users who have sockets, after an id, each with at most
// sockets of them. next is "" on the last page.
func (g *Gateway) Users(app *keystore.App, after string, limit, sockets int) (page []User, next string) {
	users, next := g.Sockets.Users(app.ID, after, limit, sockets)
	for _, u := range users {
		page = append(page, viewUser(app, u))
	}
	return page, next
}

// A DisconnectedUser is the answer to a request to disconnect a user.
type DisconnectedUser struct {
	User         string     `json:"user"`
	Disconnected int        `json:"disconnected"`      // sockets
	Revoked      *time.Time `json:"revoked,omitempty"` // see User
}

func (c *call) disconnectUser() error {
	done, err := c.DisconnectUser(c.app.ID, c.user)
	if err != nil {
		return err
	}
	respond.JSON(c.w, http.StatusOK, done)
	return nil
}

// DisconnectUser closes a user's sockets. Those that are away cannot recover. The
// user's tokens stay valid.
func (o Operator) DisconnectUser(app, user string) (DisconnectedUser, error) {
	n, err := o.gateway.Sockets.DisconnectUser(app, user, "user disconnected", func() error { return nil })
	o.audit("user disconnected", app, zap.String("user", text.MaskKeys(user)), zap.Int("sockets", n), zap.Bool("everywhere", err == nil))
	return DisconnectedUser{User: user, Disconnected: n}, err
}

func (c *call) revokeUser() error {
	revoked, err := c.SignOut(c.r.Context(), c.app.ID, c.user)
	if err != nil {
		return err
	}
	respond.JSON(c.w, http.StatusOK, revoked)
	return nil
}

// SignOut is RevokeUser, but returns in the next second: iat is in whole seconds, and
// a token that is issued afterwards must be valid.
func (o Operator) SignOut(ctx context.Context, app, user string) (DisconnectedUser, error) {
	revoked, err := o.RevokeUser(app, user) //nolint:contextcheck // a request that ends does not stop it halfway
	if err != nil {
		return revoked, err
	}
	now, err := o.gateway.now(ctx)
	if err != nil {
		return revoked, apierr.Unavailable(fmt.Sprintf("The user's tokens are revoked, but the time is not known: %s. Issue tokens from the next second on.", err), time.Second)
	}
	next := time.NewTimer(revoked.Revoked.Truncate(time.Second).Add(time.Second).Sub(now))
	defer next.Stop()
	select {
	case <-next.C:
	case <-ctx.Done():
	}
	return revoked, nil
}

// RevokeUser makes the tokens of a user invalid that were issued until now, in this
// second, and closes its sockets.
func (o Operator) RevokeUser(app, user string) (DisconnectedUser, error) {
	return complete(o, func() (DisconnectedUser, error) {
		// The clock of all machines: with that of one which is slow, newer tokens stay valid.
		now, err := o.gateway.now(context.Background())
		if err != nil {
			return DisconnectedUser{}, appError(err, app)
		}
		now = now.UTC()
		revoked := false
		n, err := o.gateway.Sockets.DisconnectUser(app, user, "user revoked", func() error {
			_, err := o.gateway.Registry.RevokeUser(app, user, now)
			revoked = err == nil
			return err
		})
		if revoked { // even if a machine has not closed its sockets
			o.audit("user revoked", app, zap.String("user", text.MaskKeys(user)), zap.Int("sockets", n), zap.Bool("everywhere", err == nil))
		}
		switch {
		case errors.Is(err, keystore.ErrTooManyRevoked):
			return DisconnectedUser{}, apierr.InvalidRequest("%s. Replace the signing key, which makes all tokens invalid: caddy realtime key rotate --overlap 0s", err)
		case err != nil:
			return DisconnectedUser{}, appError(err, app)
		}
		return DisconnectedUser{User: user, Disconnected: n, Revoked: &now}, nil
	})
}
