package manage

import (
	"crypto"
	"errors"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// An Operator changes apps and keys, through the admin API or the portal. Each
// change is on disk and in force when its method returns, and logs who did what to
// which key, but never the key itself. Errors to show to people are of type
// *apierr.Error.
type Operator struct {
	gateway *Gateway
	logger  *zap.Logger
	who     []zap.Field
}

// Operator returns an Operator. The fields in who identify the person in the log.
func (g *Gateway) Operator(logger *zap.Logger, who ...zap.Field) Operator {
	return Operator{g, logger, who}
}

func (o Operator) audit(what, app string, more ...zap.Field) {
	o.logger.Info(what, append(append([]zap.Field{zap.String("app", app)}, more...), o.who...)...)
}

func (o Operator) CreateApp(name string) (keystore.Created, error) {
	if err := checkNoKey("The name", name); err != nil {
		return keystore.Created{}, err
	}
	return complete(o, func() (keystore.Created, error) {
		made, err := o.gateway.Registry.Create(name)
		if err != nil {
			return made, appError(err, "")
		}
		o.audit("app created", made.App.ID)
		return made, nil
	})
}

// PatchApp applies a patch to an app. match returns an error if the app is not as
// the operator last saw it.
func (o Operator) PatchApp(id string, patch *Patch, match func(*keystore.App) error) (*keystore.App, error) {
	change, err := patch.check()
	if err != nil {
		return nil, err
	}
	return complete(o, func() (*keystore.App, error) {
		app, err := o.gateway.Registry.Update(id, func(app *keystore.App) error {
			if err := match(app); err != nil {
				return err
			}
			change(app)
			return nil
		})
		if err != nil {
			return nil, appError(err, id)
		}
		o.audit("app changed", id, zap.Bool("enabled", !app.Disabled))
		return app, nil
	})
}

// DeleteApp deletes the app and its keys, and disconnects its sockets.
func (o Operator) DeleteApp(id string) error {
	return o.wait(func() error {
		if err := o.gateway.Registry.Delete(id); err != nil {
			return appError(err, id)
		}
		o.audit("app deleted", id)
		return nil
	})
}

// A NewKey says which key to add.
type NewKey struct {
	Kind    keystore.Kind
	Label   string
	Expires *time.Time       // nil: never
	Scopes  []keystore.Scope // of a publish key; nil: only to publish
	Public  crypto.PublicKey // of a signing key; nil: make a secret
}

// check returns what is wrong with the kind and what depends on it, or nil.
func (k NewKey) check() error {
	switch {
	case !slices.Contains(keystore.Kinds(), k.Kind):
		return apierr.InvalidRequest(`kind is "publish", "subscribe" or "sign": {"kind":"publish"}.`)
	case k.Public != nil && k.Kind != keystore.Sign:
		return apierr.InvalidRequest(`public_key is for tokens: send it with {"kind":"sign"}.`)
	case k.Scopes != nil && k.Kind != keystore.Publish:
		return apierr.InvalidRequest(`scopes are of publish keys: send them with {"kind":"publish"}.`)
	}
	for i, scope := range k.Scopes {
		if scope != keystore.ScopePublish && scope != keystore.ScopeManage || slices.Contains(k.Scopes[:i], scope) {
			return apierr.InvalidRequest(`scopes are "publish" and "manage", each at most once: {"scopes":["publish","manage"]}.`)
		}
	}
	if k.Scopes != nil && len(k.Scopes) == 0 {
		return apierr.InvalidRequest("A key without scopes is good for nothing. Omit scopes for a key that can only publish.")
	}
	return checkNoKey("The label", k.Label)
}

// AddKey makes a key, or registers a public key.
func (o Operator) AddKey(app string, k NewKey) (keystore.Issued, error) {
	if err := k.check(); err != nil {
		return keystore.Issued{}, err
	}
	var until time.Time
	if k.Expires != nil {
		until = k.Expires.UTC()
		switch {
		case !until.After(time.Now()): // also the zero time, which the registry reads as never
			return keystore.Issued{}, apierr.InvalidRequest("expires is in the past. Send a future time, or omit it.")
		case until.Year() > 9999: // the latest time that a record can hold
			return keystore.Issued{}, apierr.InvalidRequest("expires is after the year 9999. Omit it for a key that does not expire.")
		}
	}
	return complete(o, func() (keystore.Issued, error) {
		issued, err := o.gateway.Registry.AddKey(app, keystore.KeySpec{Kind: k.Kind, Label: k.Label, Expires: until, Scopes: k.Scopes, Public: k.Public})
		if err != nil {
			return issued, keyError(err, app, "")
		}
		o.audit("key added", app, zap.String("key", issued.Key.ID))
		return issued, nil
	})
}

// MaxOverlap bounds how long a rotated key stays valid.
const MaxOverlap = 366 * 24 * time.Hour

// RotateKey makes a key that replaces another. The old key stays valid for the
// overlap.
func (o Operator) RotateKey(app, key, overlap string) (keystore.Issued, error) {
	stays, err := caddy.ParseDuration(overlap)
	if err != nil || stays < 0 || stays > MaxOverlap {
		return keystore.Issued{}, apierr.InvalidRequest(`overlap is how long the old key remains valid, from "0s" to "366d": {"overlap":"24h"}.`)
	}
	return complete(o, func() (keystore.Issued, error) {
		issued, err := o.gateway.Registry.RotateKey(app, key, stays)
		if err != nil {
			return issued, keyError(err, app, key)
		}
		o.audit("key rotated", app, zap.String("key", issued.Key.ID), zap.String("old_key", key), zap.Duration("overlap", stays))
		return issued, nil
	})
}

// RevokeKey revokes a key: the next publish with it is refused, and its sockets are
// disconnected.
func (o Operator) RevokeKey(app, key string) error {
	return o.wait(func() error {
		if _, err := o.gateway.Registry.RevokeKey(app, key); err != nil {
			return keyError(err, app, key)
		}
		o.audit("key revoked", app, zap.String("key", key))
		return nil
	})
}

// Disconnect closes a connection. Its credentials stay valid: a stock client does
// not reconnect automatically, but does when its page is reloaded.
func (o Operator) Disconnect(app, id string) error {
	found, err := o.gateway.Sockets.Disconnect(app, id, "closed by an operator")
	switch {
	case err != nil:
		return err
	case !found:
		return noConnection(id)
	}
	o.audit("connection closed", app, zap.String("socket", id))
	return nil
}

// appError explains why an app was not changed.
func appError(err error, id string) error {
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return errNoSuchApp(id)
	case errors.Is(err, keystore.ErrConflict): // repeatedly
		return apierr.Unavailable("Other machines have changed the app again and again in the meantime. Nothing was changed. Try again.", time.Second)
	case errors.Is(err, keystore.ErrInvalidName):
		return apierr.InvalidRequest("%s", err)
	}
	return err
}

// keyError explains why a key was not changed.
func keyError(err error, app, key string) error {
	switch {
	case errors.Is(err, keystore.ErrKeyNotFound):
		return apierr.NotFound("The app has no key %s. GET /realtime/keys/%s lists them by their ids.", text.Quote(key), app)
	case errors.Is(err, keystore.ErrKeyRevoked), errors.Is(err, keystore.ErrKeyExpired):
		return apierr.InvalidRequest("The key is no longer valid, so it cannot be rotated. Add a key: POST /realtime/keys/%s.", app)
	case errors.Is(err, keystore.ErrNoSecret):
		return apierr.InvalidRequest("The key is a public key, so its successor is made where tokens are signed. Add that one: POST /realtime/keys/%s.", app)
	case errors.Is(err, keystore.ErrTooManyKeys):
		return apierr.InvalidRequest("%s. Revoke unused keys.", err)
	case errors.Is(err, keystore.ErrInvalidLabel):
		return apierr.InvalidRequest("%s.", err)
	}
	return appError(err, app)
}

// checkNoKey refuses a key as a name. Names are stored in plain text, and everyone
// with access to the list of apps can read them.
func checkNoKey(what, s string) error {
	if !text.HasKey(s) {
		return nil
	}
	return apierr.InvalidRequest("%s contains a key, which would be stored and shown in plain text. Send something else, and rotate that key if it is in use.", what)
}
