package manage

import (
	"net/http"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// createApp answers with the keys in plain text. They are never shown again.
func (a *API) createApp(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Name *string `json:"name"`
	}
	if err := decodeAdmin(w, r, &body); err != nil {
		return err
	}
	if body.Name == nil {
		return apierr.InvalidRequest(`The app needs a name: {"name":"shop"}.`)
	}
	made, err := a.operator(g, r).CreateApp(*body.Name)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/realtime/apps/"+made.App.ID)
	respond.JSON(w, http.StatusCreated, CreatedApp{App: g.View(made.App), PublishKey: made.PublishKey, SubscribeKey: made.SubscribeKey})
	return nil
}

// The bounds of a list's page size.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// listApps answers with a page of apps. next is the query's "after" for the
// following page, or null on the last one.
func (a *API) listApps(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	limit, err := pageLimit(query)
	if err != nil {
		return err
	}
	after := query.Get("after")
	if after != "" && !keystore.IsPlace(after) {
		return NotAPlace(after)
	}
	apps, next := g.Registry.Apps(after, limit)
	page := struct {
		Apps []App   `json:"apps"`
		Next *string `json:"next"`
	}{make([]App, 0, len(apps)), orNull(next)}
	g.Registry.RefreshUsed(r.Context(), apps...)
	for _, app := range apps {
		page.Apps = append(page.Apps, g.View(app))
	}
	respond.JSON(w, http.StatusOK, page)
	return nil
}

func (a *API) showApp(g *Gateway, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	g.Registry.RefreshUsed(r.Context(), app)
	g.answerApp(w, http.StatusOK, app)
	return nil
}

func (a *API) deleteApp(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	if err := a.operator(g, r).DeleteApp(r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// operator returns the sender of a request. The admin endpoint has no user names.
func (a *API) operator(g *Gateway, r *http.Request) Operator {
	return g.Operator(a.Logger, zap.String("remote", r.RemoteAddr))
}

func errNoSuchApp(id string) *apierr.Error {
	return apierr.NotFound("No app %s exists. GET /realtime/apps lists them.", text.Quote(id))
}
