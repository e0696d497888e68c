package realtime

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

func (a *Admin) channelRoutes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/realtime/channels/{id}", Handler: a.route(map[string]adminFunc{
			http.MethodGet: ofApp(a.listChannels),
		}, "GET, HEAD", "after", "limit", "prefix")},
		// A channel's name may have slashes.
		{Pattern: "/realtime/channels/{id}/{channel...}", Handler: a.route(map[string]adminFunc{
			http.MethodGet: ofApp(a.showChannel),
		}, "GET, HEAD")},
	}
}

// listChannels answers a page of the occupied channels whose names begin with
// the query's prefix.
func (a *Admin) listChannels(rt *runtime, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	limit, err := pageLimit(query)
	if err != nil {
		return err
	}
	prefix, after := query.Get("prefix"), query.Get("after")
	if prefix != "" && message.CheckChannel(prefix) != nil {
		return apierr.InvalidRequest("prefix is %s, with which no channel's name begins.", text.Quote(prefix))
	}
	if after != "" && message.CheckChannel(after) != nil {
		return errNotAPlace(after)
	}
	occupied, more := rt.hub.List(app.ID, prefix, after, limit)
	page := struct {
		Channels []manage.Channel `json:"channels"`
		Next     *string          `json:"next"`
	}{Channels: make([]manage.Channel, 0, len(occupied))}
	for _, c := range occupied {
		page.Channels = append(page.Channels, manage.Channel(c))
	}
	if more {
		page.Next = &occupied[len(occupied)-1].Channel
	}
	respond.JSON(w, http.StatusOK, page)
	return nil
}

// showChannel answers for any name that a channel may have: one that nobody has
// subscribed to is not there, and has 0 subscribers.
func (a *Admin) showChannel(rt *runtime, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	channel := r.PathValue("channel")
	if err := message.CheckChannel(channel); err != nil {
		return err
	}
	respond.JSON(w, http.StatusOK, manage.Channel{Channel: channel, Subscribers: rt.hub.Subscribers(app.ID, channel)})
	return nil
}

// pageLimit is how many entries a page has.
func pageLimit(query url.Values) (int, error) {
	text := query.Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, apierr.InvalidRequest("limit is a number from 1 to %d.", maxPage)
	}
	return n, nil
}
