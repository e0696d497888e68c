package manage

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// keyRoutes returns the routes of an app's keys. They have their own prefix, so
// that Caddy's remote admin can grant access to them separately from the apps.
func (a *API) keyRoutes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/realtime/keys/{id}", Handler: a.route(map[string]adminFunc{
			http.MethodGet:  ofApp(a.listKeys),
			http.MethodPost: a.addKey,
		}, "GET, HEAD, POST")},
		{Pattern: "/realtime/keys/{id}/{key}", Handler: a.route(map[string]adminFunc{
			http.MethodDelete: a.revokeKey,
		}, "DELETE")},
		{Pattern: "/realtime/keys/{id}/{key}/rotate", Handler: a.route(map[string]adminFunc{
			http.MethodPost: a.rotateKey,
		}, "POST")},
	}
}

func (a *API) listKeys(g *Gateway, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	g.Registry.RefreshUsed(r.Context(), app)
	respond.JSON(w, http.StatusOK, struct {
		Keys []Key `json:"keys"`
	}{g.viewKeys(app)})
	return nil
}

// addKey answers with the key in plain text. It is never shown again.
func (a *API) addKey(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Kind      keystore.Kind    `json:"kind"`
		Label     string           `json:"label"`
		Expires   json.RawMessage  `json:"expires"`
		Scopes    []keystore.Scope `json:"scopes"`
		PublicKey json.RawMessage  `json:"public_key"`
	}
	if err := decodeAdmin(w, r, &body); err != nil {
		return err
	}
	expires, err := expiresAt(body.Expires)
	if err != nil {
		return err
	}
	public, err := publicKeyOf(body.PublicKey)
	if err != nil {
		return err
	}
	issued, err := a.operator(g, r).AddKey(r.PathValue("id"), NewKey{
		Kind: body.Kind, Label: body.Label, Expires: expires, Scopes: body.Scopes, Public: public,
	})
	if err != nil {
		return err
	}
	respond.JSON(w, http.StatusCreated, IssuedKey{Key: g.ViewKey(issued.Key), Secret: issued.Secret})
	return nil
}

// expiresAt reads when a key expires, as a time or a duration from now. It returns
// nil for a key that never expires.
func expiresAt(raw json.RawMessage) (*time.Time, error) {
	if jsonscan.IsNull(raw) {
		return nil, nil
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		var when time.Time
		if when.UnmarshalJSON(raw) == nil {
			return &when, nil
		}
		if good, err := caddy.ParseDuration(s); err == nil {
			return new(time.Now().Add(good)), nil
		}
	}
	return nil, apierr.InvalidRequest(`expires is %s. Send how long the key is valid, for example "90d", until when, for example "2099-12-31T18:00:00Z", or null for no expiry.`, text.Quote(strings.Trim(string(raw), `"`)))
}

// rotateKey answers with the new key in plain text.
func (a *API) rotateKey(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Overlap string `json:"overlap"`
	}
	if err := decodeAdmin(w, r, &body); err != nil {
		return err
	}
	issued, err := a.operator(g, r).RotateKey(r.PathValue("id"), r.PathValue("key"), body.Overlap)
	if err != nil {
		return err
	}
	respond.JSON(w, http.StatusCreated, IssuedKey{Key: g.ViewKey(issued.Key), Secret: issued.Secret})
	return nil
}

// revokeKey revokes a key. Publishes with it are refused from the next request on,
// and its sockets are disconnected before the answer.
func (a *API) revokeKey(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	if err := a.operator(g, r).RevokeKey(r.PathValue("id"), r.PathValue("key")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
