package realtime

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// keyRoutes are those of an app's keys. They have a prefix of their own, so
// that Caddy's remote admin can grant them apart from the apps.
func (a *Admin) keyRoutes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/realtime/keys/{id}", Handler: a.route(map[string]adminFunc{
			http.MethodGet:  a.listKeys,
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

func (a *Admin) listKeys(rt *runtime, w http.ResponseWriter, r *http.Request) error {
	app, err := rt.appOf(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		Keys []keyView `json:"keys"`
	}{rt.viewKeys(app)})
	return nil
}

// addKey answers with the key's plain text, the only time that it is shown.
func (a *Admin) addKey(rt *runtime, w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Kind    keystore.Kind `json:"kind"`
		Label   string        `json:"label"`
		Expires *time.Time    `json:"expires"`
	}
	if err := decodeAdmin(w, r, &body); err != nil {
		return err
	}
	if body.Kind != keystore.Publish && body.Kind != keystore.Subscribe {
		return errInvalidRequest(`kind is "publish" or "subscribe": {"kind":"publish"}.`)
	}
	var expires time.Time
	if body.Expires != nil {
		if expires = body.Expires.UTC(); !expires.After(time.Now()) {
			return errInvalidRequest("expires is in the past. Give a time to come, or leave it out.")
		}
	}
	issued, err := rt.registry.AddKey(r.PathValue("id"), body.Kind, body.Label, expires)
	if err != nil {
		return keyError(err, r)
	}
	a.audit("key added", r, issued.Key.ID)
	writeJSON(w, http.StatusCreated, issuedView{rt.viewKey(issued.Key), issued.Secret})
	return nil
}

// maxOverlap bounds how long a rotated key stays good.
const maxOverlap = 366 * 24 * time.Hour

// rotateKey answers with the new key's plain text.
func (a *Admin) rotateKey(rt *runtime, w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Overlap string `json:"overlap"`
	}
	if err := decodeAdmin(w, r, &body); err != nil {
		return err
	}
	overlap, err := caddy.ParseDuration(body.Overlap)
	if err != nil || overlap < 0 || overlap > maxOverlap {
		return errInvalidRequest(`overlap is how long the old key stays good, from "0s" to "366d": {"overlap":"24h"}.`)
	}
	issued, err := rt.registry.RotateKey(r.PathValue("id"), r.PathValue("key"), overlap)
	if err != nil {
		return keyError(err, r)
	}
	a.audit("key rotated", r, issued.Key.ID, zap.String("old_key", r.PathValue("key")), zap.Duration("overlap", overlap))
	writeJSON(w, http.StatusCreated, issuedView{rt.viewKey(issued.Key), issued.Secret})
	return nil
}

// revokeKey takes a key back: the next publish with it is refused, and its
// sockets are disconnected before this is answered.
func (a *Admin) revokeKey(rt *runtime, w http.ResponseWriter, r *http.Request) error {
	if _, err := rt.registry.RevokeKey(r.PathValue("id"), r.PathValue("key")); err != nil {
		return keyError(err, r)
	}
	a.audit("key revoked", r, r.PathValue("key"))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// issuedView is a new key as it is shown once.
type issuedView struct {
	keyView
	Key string `json:"key"`
}

// keyError says to a person why a key was not changed.
func keyError(err error, r *http.Request) error {
	app := r.PathValue("id")
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return errNoSuchApp(app)
	case errors.Is(err, keystore.ErrKeyNotFound):
		return errNotFound("The app has no key %s. GET /realtime/keys/%s lists them by their ids.", quote(r.PathValue("key")), app)
	case errors.Is(err, keystore.ErrKeyRevoked), errors.Is(err, keystore.ErrKeyExpired):
		return errInvalidRequest("The key is not good any more, so nothing is to take its place. Add a key: POST /realtime/keys/%s.", app)
	case errors.Is(err, keystore.ErrTooManyKeys):
		return errInvalidRequest("%s. Revoke those that are not used.", err)
	case errors.Is(err, keystore.ErrInvalidLabel):
		return errInvalidRequest("%s.", err)
	}
	return err
}

// audit logs who changed which key of which app, never the key itself.
func (a *Admin) audit(what string, r *http.Request, key string, more ...zap.Field) {
	a.logger.Info(what, append([]zap.Field{
		zap.String("app", r.PathValue("id")), zap.String("key", key), zap.String("remote", r.RemoteAddr),
	}, more...)...)
}
