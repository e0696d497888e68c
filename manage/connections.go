package manage

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

func (a *API) connectionRoutes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/realtime/connections/{id}", Handler: a.route(map[string]adminFunc{
			http.MethodGet: ofApp(a.listConnections),
		}, "GET, HEAD", "after", "channel", "limit")},
		{Pattern: "/realtime/connections/{id}/{socket}", Handler: a.route(map[string]adminFunc{
			http.MethodGet:    ofApp(a.showConnection),
			http.MethodDelete: ofApp(a.closeConnection),
		}, "GET, HEAD, DELETE")},
		{Pattern: "/realtime/live/{id}", Handler: a.route(map[string]adminFunc{
			http.MethodGet: ofApp(a.watchApp),
		}, "GET, HEAD")},
	}
}

func noConnection(id string) *apierr.Error {
	return apierr.NotFound("The app has no connection %s. It may have closed, or reconnected with another id.", text.Quote(id))
}

// listConnections answers with a page of the app's connections, or of the members
// of one channel.
func (a *API) listConnections(g *Gateway, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	limit, err := pageLimit(query)
	if err != nil {
		return err
	}
	channel := query.Get("channel")
	if channel != "" {
		if err := message.CheckChannel(channel); err != nil {
			return err
		}
	}
	after := query.Get("after")
	if after != "" && !socketio.IsID(after) {
		return NotAPlace(after)
	}
	page, next := g.Sockets.List(app.ID, channel, after, limit)
	respond.JSON(w, http.StatusOK, struct {
		Connections []Connection `json:"connections"`
		Next        *string      `json:"next"`
	}{page, orNull(next)})
	return nil
}

func (a *API) showConnection(g *Gateway, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("socket")
	socket, ok, err := g.Sockets.Find(app.ID, id)
	switch {
	case err != nil:
		return err
	case !ok:
		return noConnection(id)
	}
	respond.JSON(w, http.StatusOK, socket)
	return nil
}

func (a *API) closeConnection(g *Gateway, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	if err := a.operator(g, r).Disconnect(app.ID, r.PathValue("socket")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// watchApp streams the app's events.
func (a *API) watchApp(g *Gateway, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	return g.ServeLive(w, r, app.ID, nil)
}
