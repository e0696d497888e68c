package manage

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/token"
)

const (
	defaultTokenLife = time.Hour
	minTokenLife     = time.Second
)

// tokenRoutes returns the routes that make and check tokens. They have their own prefix: whoever
// makes a token can read what its user can.
func (a *API) tokenRoutes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/realtime/tokens/{id}", Handler: a.route(map[string]adminFunc{
			http.MethodPost: a.createToken,
		}, "POST")},
		{Pattern: "/realtime/tokens/{id}/check", Handler: a.route(map[string]adminFunc{
			http.MethodPost: a.checkToken,
		}, "POST")},
	}
}

// A NewToken says which token to make. Its fields are those of the request.
type NewToken struct {
	User      *string           `json:"user"`
	Channels  []json.RawMessage `json:"channels"`
	Info      json.RawMessage   `json:"info"`
	ExpiresIn *string           `json:"expires_in"` // nil: 1h
}

// A Token is a new token, which is kept nowhere.
type Token struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Key     string    `json:"key"` // the id of the key that signed it
}

// claims is what a token says.
type claims struct {
	Sub      string            `json:"sub"`
	Iat      int64             `json:"iat"`
	Exp      int64             `json:"exp"`
	Channels []json.RawMessage `json:"channels,omitempty"`
	Info     json.RawMessage   `json:"info,omitempty"`
}

// createToken answers with a token for trying things. Those of users are made by
// the backend that knows them.
func (a *API) createToken(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	var body NewToken
	if err := decodeAdmin(w, r, &body); err != nil {
		return err
	}
	made, err := a.operator(g, r).CreateToken(r.PathValue("id"), &body)
	if err != nil {
		return err
	}
	respond.JSON(w, http.StatusCreated, made)
	return nil
}

// CreateToken signs a token with the newest valid secret of an app. The token does
// not outlive that key.
func (o Operator) CreateToken(id string, t *NewToken) (Token, error) {
	life, err := t.check()
	if err != nil {
		return Token{}, err
	}
	app, ok := o.gateway.Registry.App(id)
	if !ok {
		return Token{}, errNoSuchApp(id)
	}
	now := time.Now()
	key, err := signingKey(app, now)
	if err != nil {
		return Token{}, err
	}
	expires := now.Add(life)
	if !key.Expires.IsZero() && key.Expires.Before(expires) {
		expires = key.Expires
	}
	expires = expires.UTC().Truncate(time.Second)
	c := claims{Sub: *t.User, Iat: now.Unix(), Exp: expires.Unix(), Channels: t.Channels}
	if !jsonscan.IsNull(t.Info) {
		c.Info = t.Info
	}
	signed, err := sign(key, c)
	if err != nil {
		return Token{}, err
	}
	if n := len(signed); n > token.MaxSize {
		return Token{}, apierr.InvalidRequest("The token would have %d bytes; at most %d are allowed. Name fewer channels: a * stands for the rest of a name.", n, token.MaxSize)
	}
	o.audit("token created", id, zap.String("key", key.ID))
	return Token{Token: signed, Expires: expires, Key: key.ID}, nil
}

// signingKey returns the newest of the app's valid keys whose secret is here.
func signingKey(app *keystore.App, now time.Time) (*keystore.Key, error) {
	keys := app.SigningKeys(now)
	for _, key := range slices.Backward(keys) {
		if key.Algorithm == keystore.HS256 {
			return key, nil
		}
	}
	why := "The app has no valid signing key."
	if len(keys) > 0 {
		why = "The app's signing keys are public keys, whose private halves are not here."
	}
	return nil, apierr.InvalidRequest("%s Add a secret: caddy realtime key add %s --kind sign", why, app.ID)
}

// sign returns a token in its compact form.
func sign(key *keystore.Key, c claims) (string, error) {
	payload, err := text.JSON(c)
	if err != nil {
		return "", err
	}
	options := new(jose.SignerOptions).WithType("JWT").WithHeader("kid", key.ID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: key.Verifier}, options)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// check returns how long the token is valid, or what is wrong with it.
func (t *NewToken) check() (time.Duration, error) {
	if t.User == nil {
		return 0, apierr.InvalidRequest(`user is missing. Send the user's id: {"user":"42","channels":["private-user.42"]}.`)
	}
	if err := message.CheckUser("user", *t.User); err != nil {
		return 0, err
	}
	if n := len(t.Channels); n > token.MaxGrants {
		return 0, apierr.InvalidRequest("channels has %d entries; at most %d are allowed. A * stands for the rest of a name.", n, token.MaxGrants)
	}
	for i, raw := range t.Channels {
		if err := checkGrant(raw); err != nil {
			return 0, apierr.InvalidRequest("channels[%d]: %s", i, apierr.As(err).Message)
		}
	}
	if !jsonscan.IsNull(t.Info) {
		compact, err := text.JSON(t.Info)
		if err != nil {
			return 0, err
		}
		if n := len(compact); n > token.MaxInfo {
			return 0, apierr.InvalidRequest("info has %d bytes; at most %d are allowed. It is for what others in a channel see of the user, such as a name.", n, token.MaxInfo)
		}
	}
	return t.life()
}

// life returns how long the token is valid.
func (t *NewToken) life() (time.Duration, error) {
	if t.ExpiresIn == nil {
		return defaultTokenLife, nil
	}
	life, err := caddy.ParseDuration(*t.ExpiresIn)
	if err != nil || life < minTokenLife || life > keystore.MaxTokenLife {
		return 0, apierr.InvalidRequest(`expires_in is %s. It is how long the token is valid, from "1s" to "24h": {"expires_in":"1h"}.`, text.Quote(*t.ExpiresIn))
	}
	return life, nil
}

// checkGrant checks an entry of a token's channels: a pattern, or an object if more
// than subscribing is allowed.
func checkGrant(raw json.RawMessage) error {
	const example = `{"match":"room.1","client_events":true}`
	switch raw[0] {
	case '"':
		var p string
		if err := json.Unmarshal(raw, &p); err != nil {
			return err
		}
		return CheckPattern("It", p)
	case '{':
	default:
		return apierr.InvalidRequest("It is %s. Send a channel's name, the beginning of names with a *, or an object: %s.", jsonscan.Kind(raw[0]), example)
	}
	var body struct {
		Match        *string `json:"match"`
		ClientEvents bool    `json:"client_events"`
	}
	if err := decodeStrict(raw, &body); err != nil {
		return err
	}
	if body.Match == nil {
		return apierr.InvalidRequest("It needs match: %s.", example)
	}
	return CheckPattern("match", *body.Match)
}
