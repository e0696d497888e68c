package manage

import (
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// MaxBody is the largest body that the admin API accepts, in bytes.
const MaxBody = 64 << 10

// An App is the admin API's view of an app.
type App struct {
	ID             string    `json:"id"`
	Name           string    `json:"name"`
	Created        time.Time `json:"created"`
	Enabled        bool      `json:"enabled"`
	RateLimit      *Rate     `json:"rate_limit"`      // null: the configuration's default
	History        *History  `json:"history"`         // null: the configuration's default
	Recovery       *string   `json:"recovery"`        // null: the configuration's default
	Channels       []Rule    `json:"channels"`        // the rules in force
	DefaultRules   bool      `json:"default_rules"`   // whether those are the default ones
	MaxConnections *int64    `json:"max_connections"` // null: no limit
	MaxChannels    *int64    `json:"max_channels"`    // null: the configuration's default
	MaxBody        *int64    `json:"max_body"`        // null: the configuration's default
	AllowedOrigins []string  `json:"allowed_origins"`
	Connections    int       `json:"connections"`
	Keys           []Key     `json:"keys"`

	MaxConnectionsPerUser *int64 `json:"max_connections_per_user"` // null: no limit
}

// A Rate is an app's publish limit.
type Rate struct {
	Publishes int    `json:"publishes"`
	Window    string `json:"window,omitempty"` // absent if publishes is 0, for no limit
}

// A History is what each channel of an app keeps.
type History struct {
	Messages int    `json:"messages"`
	Age      string `json:"age,omitempty"` // absent if messages is 0, for none
}

// A Key is the admin API's view of a key. It never contains the key itself.
type Key struct {
	ID      string        `json:"id"`
	Kind    keystore.Kind `json:"kind"`
	Label   string        `json:"label"`
	Last4   string        `json:"last4"`
	Created time.Time     `json:"created"`
	Expires *time.Time    `json:"expires"`
	Revoked *time.Time    `json:"revoked"`

	LastUsed *time.Time `json:"last_used"` // to the minute; null: never

	Scopes    []keystore.Scope   `json:"scopes,omitempty"`    // of a publish key
	Algorithm keystore.Algorithm `json:"algorithm,omitempty"` // of a signing key
}

// State describes whether the key is valid, as text and as a bool.
func (k Key) State() (text string, valid bool) {
	switch {
	case k.Revoked != nil:
		return "revoked " + k.Revoked.Format(time.DateTime), false
	case k.Expires == nil:
		return "valid", true
	case time.Now().After(*k.Expires):
		return "expired " + k.Expires.Format(time.DateTime), false
	}
	return "until " + k.Expires.Format(time.DateTime), true
}

// An IssuedKey is a new key with its plain text, which is shown only once.
type IssuedKey struct {
	Key
	Secret string `json:"key,omitempty"` // absent for a public key
}

// A CreatedApp is a new app with its keys in plain text, which are shown only once.
type CreatedApp struct {
	App
	PublishKey   string `json:"publish_key"`
	SubscribeKey string `json:"subscribe_key"`
}

// A Channel is the admin API's view of an occupied channel.
type Channel struct {
	Channel     string `json:"channel"`
	Subscribers int    `json:"subscribers"`
	Members     *int   `json:"members,omitempty"` // users, of a single channel with presence
}

// A Connection is the admin API's view of a connected socket.
type Connection struct {
	ID        string    `json:"id"` // the client's socket.id
	ClientIP  string    `json:"client_ip"`
	Origin    *string   `json:"origin"` // null: not from a page, or from the site's own
	Key       string    `json:"key"`
	User      *string   `json:"user"` // null: no token says who it is
	Transport string    `json:"transport"`
	Connected time.Time `json:"connected"`
	Channels  []string  `json:"channels"`
}

// View returns the admin API's view of an app.
func (g *Gateway) View(app *keystore.App) App {
	v := App{
		ID:             app.ID,
		Name:           app.Name,
		Created:        app.Created,
		Enabled:        !app.Disabled,
		MaxConnections: orNull(int64(app.MaxConnections)),
		MaxChannels:    orNull(int64(app.MaxChannels)),
		MaxBody:        orNull(app.MaxBody),
		AllowedOrigins: append([]string{}, app.AllowedOrigins...),
		Channels:       viewRules(app.RulesInForce()),
		DefaultRules:   app.Rules == nil,
		History:        viewHistory(app.History),
		Connections:    g.Sockets.Count(app.ID),

		MaxConnectionsPerUser: orNull(int64(app.MaxConnectionsPerUser)),

		Keys: g.viewKeys(app),
	}
	if app.Rate != nil {
		v.RateLimit = &Rate{Publishes: app.Rate.Limit}
		if app.Rate.Limit > 0 {
			v.RateLimit.Window = text.ShortDuration(app.Rate.Window)
		}
	}
	if app.Recovery != nil {
		v.Recovery = new(text.ShortDuration(*app.Recovery))
	}
	return v
}

func (g *Gateway) viewKeys(app *keystore.App) []Key {
	views := make([]Key, 0, len(app.Keys))
	for _, k := range app.Keys {
		views = append(views, g.ViewKey(k))
	}
	return views
}

// ViewKey returns the admin API's view of a key.
func (g *Gateway) ViewKey(k keystore.Key) Key {
	return Key{
		ID: k.ID, Kind: k.Kind, Label: k.Label, Last4: k.Last4,
		Created: k.Created, Expires: timeOrNull(k.Expires), Revoked: timeOrNull(k.Revoked),
		LastUsed:  timeOrNull(g.Registry.LastUsed(k.ID)),
		Algorithm: k.Algorithm, Scopes: scopesOf(k),
	}
}

// scopesOf returns what a publish key is good for.
func scopesOf(k keystore.Key) []keystore.Scope {
	if k.Kind == keystore.Publish && len(k.Scopes) == 0 {
		return []keystore.Scope{keystore.ScopePublish}
	}
	return k.Scopes
}

// orNull returns nil for the zero value.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
