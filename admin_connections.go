package realtime

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

func (a *Admin) connectionRoutes() []caddy.AdminRoute {
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

func (s *socket) view() manage.Connection {
	return manage.Connection{
		ID:        s.conn.ID(),
		ClientIP:  s.visitor.ip,
		Key:       s.key.Load().ID,
		Transport: s.conn.Session().Transport(),
		Connected: time.Unix(s.since.Load(), 0).UTC(),
		Channels:  s.member.Channels(),
		Origin:    orNull(s.visitor.origin.Get("Origin")),
	}
}

// connections is a page of an app's connected sockets in order of their ids:
// those behind after, and of a channel, unless that is "". It looks at all of
// them, and is for people, not for programs that poll.
func (rt *runtime) connections(app, channel, after string, limit int) (page []manage.Connection, next string) {
	found := slices.DeleteFunc(rt.sockets.of(app), func(s *socket) bool {
		return s.since.Load() == 0 || s.conn.ID() <= after ||
			channel != "" && !slices.Contains(s.member.Channels(), channel)
	})
	slices.SortFunc(found, func(a, b *socket) int { return strings.Compare(a.conn.ID(), b.conn.ID()) })
	if len(found) > limit {
		found = found[:limit]
		next = found[limit-1].conn.ID()
	}
	page = make([]manage.Connection, 0, len(found))
	for _, s := range found {
		page = append(page, s.view())
	}
	return page, next
}

// connection finds a connected socket of an app.
func (rt *runtime) connection(app, id string) (*socket, error) {
	for _, s := range rt.sockets.of(app) {
		if s.conn.ID() == id && s.since.Load() != 0 {
			return s, nil
		}
	}
	return nil, apierr.NotFound("The app has no connection %s. It may have gone, or come back with another id.", text.Quote(id))
}

// listConnections answers a page of the app's connections, or of a channel's
// members.
func (a *Admin) listConnections(rt *runtime, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
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
		return errNotAPlace(after)
	}
	page, next := rt.connections(app.ID, channel, after, limit)
	respond.JSON(w, http.StatusOK, struct {
		Connections []manage.Connection `json:"connections"`
		Next        *string             `json:"next"`
	}{page, orNull(next)})
	return nil
}

func (a *Admin) showConnection(rt *runtime, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	s, err := rt.connection(app.ID, r.PathValue("socket"))
	if err != nil {
		return err
	}
	respond.JSON(w, http.StatusOK, s.view())
	return nil
}

func (a *Admin) closeConnection(rt *runtime, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	if err := a.operator(rt, r).disconnect(app.ID, r.PathValue("socket")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// watchApp streams what happens in the app.
func (a *Admin) watchApp(rt *runtime, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	return rt.serveLive(w, r, app.ID, nil)
}
