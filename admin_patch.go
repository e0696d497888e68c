package realtime

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// maxOrigins bounds the origins of an app.
const maxOrigins = 100

// appPatch is what may be changed of an app. What is absent stays.
type appPatch struct {
	Name           *string         `json:"name"`
	Enabled        *bool           `json:"enabled"`
	RateLimit      json.RawMessage `json:"rate_limit"` // null: the default of the configuration
	MaxConnections json.RawMessage `json:"max_connections"`
	MaxChannels    json.RawMessage `json:"max_channels"`
	MaxBody        json.RawMessage `json:"max_body"`
	AllowedOrigins *[]string       `json:"allowed_origins"`
}

// bounds are the counts of a patch; 0 is null.
type bounds struct{ connections, channels, body int64 }

// patchApp changes what the body names. It takes effect with the next request;
// a disabled app's sockets are disconnected.
func (a *Admin) patchApp(rt *runtime, w http.ResponseWriter, r *http.Request) error {
	var patch appPatch
	if err := decodeAdmin(w, r, &patch); err != nil {
		return err
	}
	seen := r.Header.Values("If-Match") // the change may outlive the request
	app, err := a.operator(rt, r).patchApp(r.PathValue("id"), &patch, func(app *keystore.App) error {
		return checkMatch(seen, app)
	})
	if err != nil {
		return err
	}
	rt.answerApp(w, http.StatusOK, app)
	return nil
}

// check is what the patch does to an app, if all of it may be done.
func (p *appPatch) check() (func(*keystore.App), error) {
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
	bounds, err := p.bounds()
	if err != nil {
		return nil, err
	}
	return func(app *keystore.App) { p.apply(app, rate, bounds) }, nil
}

// rate is the limit that the patch sets, nil for the default or none.
func (p *appPatch) rate() (*keystore.Rate, error) {
	if jsonscan.IsNull(p.RateLimit) {
		return nil, nil
	}
	var body struct {
		Publishes *int   `json:"publishes"`
		Window    string `json:"window"`
	}
	if kind := jsonscan.Kind(p.RateLimit[0]); p.RateLimit[0] != '{' {
		return nil, apierr.InvalidRequest(`rate_limit is %s. It takes {"publishes":600,"window":"1m"}, or null for the default.`, kind)
	}
	if err := decodeStrict(p.RateLimit, &body); err != nil {
		return nil, err
	}
	if body.Publishes == nil { // which is not 0: that would take the limit away
		return nil, apierr.InvalidRequest(`rate_limit needs publishes: {"publishes":600,"window":"1m"}. No limit is {"publishes":0}.`)
	}
	limit := RateLimit{Publishes: *body.Publishes}
	if limit.Publishes > 0 || body.Window != "" {
		window, err := caddy.ParseDuration(body.Window)
		if err != nil {
			return nil, apierr.InvalidRequest(`rate_limit's window is a duration: {"publishes":600,"window":"1m"}. No limit is {"publishes":0}.`)
		}
		limit.Window = caddy.Duration(window)
	}
	if err := limit.validate(); err != nil {
		return nil, apierr.InvalidRequest("%s.", err)
	}
	return &keystore.Rate{Limit: limit.Publishes, Window: time.Duration(limit.Window)}, nil
}

func (p *appPatch) bounds() (b bounds, err error) {
	for _, f := range []struct {
		name string
		raw  json.RawMessage
		most int64
		into *int64
	}{
		{"max_connections", p.MaxConnections, maxCount, &b.connections},
		{"max_channels", p.MaxChannels, maxCount, &b.channels},
		{"max_body", p.MaxBody, maxSize, &b.body},
	} {
		if jsonscan.IsNull(f.raw) {
			continue
		}
		if json.Unmarshal(f.raw, f.into) != nil || *f.into < 1 || *f.into > f.most {
			return bounds{}, apierr.InvalidRequest("%s is a whole number from 1 to %d, or null to take the bound away.", f.name, f.most)
		}
	}
	return b, nil
}

func (p *appPatch) checkOrigins() error {
	if p.AllowedOrigins == nil {
		return nil
	}
	if n := len(*p.AllowedOrigins); n > maxOrigins {
		return apierr.InvalidRequest("allowed_origins has %d entries, more than %d. A *. stands for all subdomains.", n, maxOrigins)
	}
	if _, err := access.ParseOrigins(*p.AllowedOrigins); err != nil {
		return apierr.InvalidRequest("%s.", err)
	}
	return nil
}

func (p *appPatch) apply(app *keystore.App, rate *keystore.Rate, b bounds) {
	if p.Name != nil {
		app.Name = *p.Name
	}
	if p.Enabled != nil {
		app.Disabled = !*p.Enabled
	}
	if p.RateLimit != nil {
		app.Rate = rate
	}
	if p.MaxConnections != nil {
		app.MaxConnections = int(b.connections)
	}
	if p.MaxChannels != nil {
		app.MaxChannels = int(b.channels)
	}
	if p.MaxBody != nil {
		app.MaxBody = b.body
	}
	if p.AllowedOrigins != nil {
		app.AllowedOrigins = *p.AllowedOrigins
	}
}

// answerApp shows an app, with the ETag of what is stored of it.
func (rt *runtime) answerApp(w http.ResponseWriter, status int, app *keystore.App) {
	w.Header().Set("ETag", etag(app))
	respond.JSON(w, status, rt.view(app))
}

// etag changes with what is stored of an app, and not with its connections.
func etag(app *keystore.App) string {
	record, err := json.Marshal(app)
	if err != nil {
		panic(err) // a struct of strings, numbers and times
	}
	sum := sha256.Sum256(record)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

// checkMatch refuses a change of what the client has not seen (RFC 9110,
// section 13.1.1).
func checkMatch(wanted []string, app *keystore.App) error {
	if len(wanted) == 0 {
		return nil
	}
	now := etag(app)
	for tag := range strings.SplitSeq(strings.Join(wanted, ","), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == now {
			return nil
		}
	}
	return apierr.PreconditionFailed()
}
