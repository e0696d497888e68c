package manage

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/token"
)

// A CheckedToken says what a token is worth to an app. Header and Claims are what the
// token says, also if it is refused; null if they cannot be read.
type CheckedToken struct {
	Valid  bool            `json:"valid"`
	Error  *apierr.Error   `json:"error"` // why a client with it is refused; null: it is not
	Header json.RawMessage `json:"header"`
	Claims json.RawMessage `json:"claims"`

	// What was verified, absent if the token is not valid.
	Key      string     `json:"key,omitempty"`  // the id of the key that signed it
	User     string     `json:"user,omitempty"` // absent also if the token has none
	Expires  *time.Time `json:"expires,omitempty"`
	Channels []Grant    `json:"channels,omitempty"`

	Channel *CheckedChannel `json:"channel,omitempty"` // absent if none was asked for
}

// A Grant is an entry of a token's channels.
type Grant struct {
	Match        string `json:"match"`
	ClientEvents bool   `json:"client_events"`
}

// A CheckedChannel says whether a client that has a token, and no subscribe key, may
// subscribe to a channel.
type CheckedChannel struct {
	Channel string        `json:"channel"`
	Allowed bool          `json:"allowed"`
	Error   *apierr.Error `json:"error"` // why not
	Rule    *Rule         `json:"rule"`  // null: no rule matches, so the channel is open
}

// checkToken answers what a client with the token in the body would get.
func (a *API) checkToken(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Token   *string `json:"token"`
		Channel *string `json:"channel"`
	}
	if err := decodeAdmin(w, r, &body); err != nil {
		return err
	}
	if body.Token == nil {
		return apierr.InvalidRequest(`token is missing. Send the token to check: {"token":"eyJ…"}.`)
	}
	if body.Channel == nil {
		body.Channel = new(string)
	} else if err := message.CheckChannel(*body.Channel); err != nil {
		return err
	}
	id := r.PathValue("id")
	app, ok := g.Registry.App(id)
	if !ok {
		return errNoSuchApp(id)
	}
	checked, err := CheckToken(app, *body.Token, *body.Channel, time.Now())
	if err != nil {
		return err
	}
	respond.JSON(w, http.StatusOK, checked)
	return nil
}

// CheckToken says what a client with a token would get from an app at now, and
// whether it may subscribe to channel, unless that is "". The error is about the
// channel's name.
func CheckToken(app *keystore.App, raw, channel string, now time.Time) (CheckedToken, error) {
	if channel != "" {
		if err := message.CheckChannel(channel); err != nil {
			return CheckedToken{}, err
		}
	}
	var c CheckedToken
	c.Header, c.Claims = claimed(raw)
	t, err := token.Verify(app, raw, now)
	if err == nil && app.Disabled {
		err = apierr.AppDisabled()
	}
	if err != nil {
		c.Error = apierr.As(err)
	} else {
		c.accept(t)
	}
	if channel == "" {
		return c, nil
	}
	c.Channel = &CheckedChannel{Channel: channel}
	if rules := viewRules(app.RulesInForce()); RuleOf(rules, channel) >= 0 {
		c.Channel.Rule = &rules[RuleOf(rules, channel)]
	}
	if err == nil {
		err = token.CheckChannel(app, app.Rule(channel), channel, t.User, now, t)
	}
	if c.Channel.Allowed = err == nil; err != nil {
		c.Channel.Error = apierr.As(err)
	}
	return c, nil
}

func (c *CheckedToken) accept(t *token.Token) {
	c.Valid = true
	c.Key, c.User, c.Expires = t.Key, t.User, new(t.Expires.UTC())
	for _, g := range t.Grants {
		c.Channels = append(c.Channels, Grant(g))
	}
}

// claimed returns what a token says without verifying it: its header and its claims
// as compact JSON, each nil if it cannot be read.
func claimed(raw string) (header, claims json.RawMessage) {
	parts := strings.Split(raw, ".")
	if len(raw) > token.MaxSize || len(parts) != 3 {
		return nil, nil
	}
	return readable(parts[0]), readable(parts[1])
}

func readable(encoded string) json.RawMessage {
	decoded, err := base64.RawURLEncoding.DecodeString(encoded)
	var compact bytes.Buffer
	if err != nil || json.Compact(&compact, decoded) != nil {
		return nil
	}
	return bytes.ToValidUTF8(compact.Bytes(), []byte("�"))
}
