package manage

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// MaxOrigins bounds an app's list of origins.
const MaxOrigins = 100

// A Patch changes an app. Absent fields stay as they are.
type Patch struct {
	Name           *string         `json:"name"`
	Enabled        *bool           `json:"enabled"`
	RateLimit      json.RawMessage `json:"rate_limit"` // null: the configuration's default
	History        json.RawMessage `json:"history"`    // likewise
	Recovery       json.RawMessage `json:"recovery"`   // likewise
	Channels       json.RawMessage `json:"channels"`   // the rules; null: the default ones
	MaxConnections json.RawMessage `json:"max_connections"`
	MaxChannels    json.RawMessage `json:"max_channels"`
	MaxBody        json.RawMessage `json:"max_body"`
	AllowedOrigins *[]string       `json:"allowed_origins"`

	MaxConnectionsPerUser json.RawMessage `json:"max_connections_per_user"`
}

// limits are the counts in a patch; 0 stands for null.
type limits struct{ connections, perUser, channels, body int64 }

// patchApp applies the patch in the body. It takes effect with the next request; if
// it disables the app, the app's sockets are disconnected.
func (a *API) patchApp(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	var patch Patch
	if err := decodeAdmin(w, r, &patch); err != nil {
		return err
	}
	seen := r.Header.Values("If-Match") // read now: the change can outlive the request
	app, err := a.operator(g, r).PatchApp(r.PathValue("id"), &patch, func(app *keystore.App) error {
		return CheckMatch(seen, app)
	})
	if err != nil {
		return err
	}
	g.answerApp(w, http.StatusOK, app)
	return nil
}

// check validates the whole patch and returns a function that applies it to an app.
func (p *Patch) check() (func(*keystore.App), error) {
	rate, err := p.rate()
	if err != nil {
		return nil, err
	}
	if p.Name != nil {
		if err := checkNoKey("The name", *p.Name); err != nil {
			return nil, err
		}
	}
	if err := p.checkOrigins(); err != nil {
		return nil, err
	}
	limits, err := p.limits()
	if err != nil {
		return nil, err
	}
	keep, err := p.keep()
	if err != nil {
		return nil, err
	}
	rules, err := p.rules()
	if err != nil {
		return nil, err
	}
	return func(app *keystore.App) {
		p.apply(app, rate, limits, keep)
		if p.Channels != nil {
			app.Rules = rules
		}
	}, nil
}

// rate returns the limit that the patch sets: nil for the default, or if it sets
// none.
func (p *Patch) rate() (*keystore.Rate, error) {
	if jsonscan.IsNull(p.RateLimit) {
		return nil, nil
	}
	field := amount{"rate_limit", "publishes", "window", `{"publishes":600,"window":"1m"}`, "No limit"}
	var body struct {
		Publishes *int   `json:"publishes"`
		Window    string `json:"window"`
	}
	if err := field.decode(p.RateLimit, &body); err != nil {
		return nil, err
	}
	rate := new(keystore.Rate)
	var err error
	if rate.Limit, rate.Window, err = field.read(body.Publishes, body.Window); err != nil {
		return nil, err
	}
	if err := bounds.CheckRate(field.name, rate.Limit, rate.Window); err != nil {
		return nil, apierr.InvalidRequest("%s.", err)
	}
	return rate, nil
}

func (p *Patch) limits() (l limits, err error) {
	for _, f := range []struct {
		name string
		raw  json.RawMessage
		most int64
		into *int64
	}{
		{"max_connections", p.MaxConnections, bounds.MaxCount, &l.connections},
		{"max_connections_per_user", p.MaxConnectionsPerUser, bounds.MaxCount, &l.perUser},
		{"max_channels", p.MaxChannels, bounds.MaxCount, &l.channels},
		{"max_body", p.MaxBody, bounds.MaxSize, &l.body},
	} {
		if jsonscan.IsNull(f.raw) {
			continue
		}
		if json.Unmarshal(f.raw, f.into) != nil || *f.into < 1 || *f.into > f.most {
			return limits{}, apierr.InvalidRequest("%s is a whole number from 1 to %d, or null for no limit of its own.", f.name, f.most)
		}
	}
	return l, nil
}

func (p *Patch) checkOrigins() error {
	if p.AllowedOrigins == nil {
		return nil
	}
	if n := len(*p.AllowedOrigins); n > MaxOrigins {
		return apierr.InvalidRequest("allowed_origins has %d entries, more than %d. A *. stands for all subdomains.", n, MaxOrigins)
	}
	if _, err := access.ParseOrigins(*p.AllowedOrigins); err != nil {
		return apierr.InvalidRequest("%s.", err)
	}
	return nil
}

func (p *Patch) apply(app *keystore.App, rate *keystore.Rate, l limits, k keep) {
	if p.Name != nil {
		app.Name = *p.Name
	}
	if p.Enabled != nil {
		app.Disabled = !*p.Enabled
	}
	if p.RateLimit != nil {
		app.Rate = rate
	}
	if p.History != nil {
		app.History = k.history
	}
	if p.Recovery != nil {
		app.Recovery = k.recovery
	}
	if p.MaxConnections != nil {
		app.MaxConnections = int(l.connections)
	}
	if p.MaxConnectionsPerUser != nil {
		app.MaxConnectionsPerUser = int(l.perUser)
	}
	if p.MaxChannels != nil {
		app.MaxChannels = int(l.channels)
	}
	if p.MaxBody != nil {
		app.MaxBody = l.body
	}
	if p.AllowedOrigins != nil {
		app.AllowedOrigins = *p.AllowedOrigins
	}
}

// answerApp responds with an app and the ETag of its stored form.
func (g *Gateway) answerApp(w http.ResponseWriter, status int, app *keystore.App) {
	w.Header().Set("ETag", ETag(app))
	respond.JSON(w, status, g.View(app))
}

// ETag changes with the stored form of an app, but not with its connections.
func ETag(app *keystore.App) string {
	record, err := json.Marshal(app)
	if err != nil {
		panic(err) // a struct of strings, numbers and times always marshals
	}
	sum := sha256.Sum256(record)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

// CheckMatch refuses to change a version of the app that the client has not seen
// (RFC 9110, section 13.1.1).
func CheckMatch(wanted []string, app *keystore.App) error {
	if len(wanted) == 0 {
		return nil
	}
	now := ETag(app)
	for tag := range strings.SplitSeq(strings.Join(wanted, ","), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == now {
			return nil
		}
	}
	return apierr.PreconditionFailed()
}
