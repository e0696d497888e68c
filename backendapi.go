package realtime

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/site"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// serveAPI serves the API of backends below api_path: reading channels and users, and
// ending the sockets and tokens of a user.
func (h *Handler) serveAPI(rt *runtime, w http.ResponseWriter, r *http.Request) {
	err := h.callAPI(rt, w, r)
	if err == nil {
		return
	}
	logFailed(&rt.faults.api, h.logger, "a backend's request failed", r, err)
	refusal := apierr.As(err)
	if refusal.Status == http.StatusUnauthorized {
		rate := h.app.AuthFailures
		rt.failed.Hold(r.Context(), site.ClientIP(r), rate.Count, time.Duration(rate.Window))
	}
	h.refuse(w, r, refusal)
}

func (h *Handler) callAPI(rt *runtime, w http.ResponseWriter, r *http.Request) error {
	path, ok := h.belowAPI(r)
	if !ok {
		return apierr.NotFound("The path is %s. Begin it with exactly %s/, and write a slash in a name as %%2F.", text.Quote(r.URL.Path), h.APIPath)
	}
	// No page may use it: a key that is in a page is everybody's.
	if len(r.Header["Origin"]) > 0 {
		return apierr.InvalidRequest("The request has an Origin header, so it is from a browser. Send it from your backend: the key must not be in a page.")
	}
	if access.IsEarly(r) { // GETs, too: they carry a key
		return apierr.TooEarly()
	}
	id, secret, err := access.PublishCredentials(r)
	if err != nil {
		return err
	}
	now := time.Now()
	app, key, err := access.Authenticate(rt.registry, keystore.Publish, id, secret, now)
	if err != nil {
		return err
	}
	if !key.Has(keystore.ScopeManage) {
		return apierr.NoScope(keystore.ScopeManage)
	}
	rt.registry.Used(app, key, now)
	return rt.gateway.ServeBackend(w, r, app, path, h.logger, zap.String("key", key.ID), zap.String("client_ip", site.ClientIP(r)))
}

// belowAPI returns the escaped path below api_path, without its first slash. ok is
// false if it is spelled in a way that other handlers may read differently.
func (h *Handler) belowAPI(r *http.Request) (path string, ok bool) {
	below, ok := strings.CutPrefix(r.URL.EscapedPath(), h.APIPath)
	path, _ = strings.CutPrefix(below, "/")
	odd := func(segment string) bool { return segment == "" || segment == "." || segment == ".." }
	return path, ok && (path == "" || !slices.ContainsFunc(strings.Split(strings.TrimSuffix(path, "/"), "/"), odd))
}
