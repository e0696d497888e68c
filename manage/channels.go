package manage

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

func (a *API) channelRoutes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/realtime/channels/{id}", Handler: a.route(map[string]adminFunc{
			http.MethodGet: ofApp(a.listChannels),
		}, "GET, HEAD", "after", "limit", "prefix")},
		// A channel name can contain slashes.
		{Pattern: "/realtime/channels/{id}/{channel...}", Handler: a.route(map[string]adminFunc{
			http.MethodGet: ofApp(a.showChannel),
		}, "GET, HEAD")},
	}
}

// listChannels answers with a page of the occupied channels whose names begin
// with the query's prefix.
func (a *API) listChannels(g *Gateway, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	limit, err := pageLimit(query)
	if err != nil {
		return err
	}
	prefix, after := query.Get("prefix"), query.Get("after")
	if prefix != "" && message.CheckChannel(prefix) != nil {
		return apierr.InvalidRequest("prefix is %s, but no channel name can begin with that.", text.Quote(prefix))
	}
	if after != "" && message.CheckChannel(after) != nil {
		return NotAPlace(after)
	}
	occupied, more := g.Channels.List(app.ID, prefix, after, limit)
	page := struct {
		Channels []Channel `json:"channels"`
		Next     *string   `json:"next"`
	}{Channels: make([]Channel, 0, len(occupied))}
	for _, c := range occupied {
		page.Channels = append(page.Channels, Channel(c))
	}
	if more {
		page.Next = &occupied[len(occupied)-1].Channel
	}
	respond.JSON(w, http.StatusOK, page)
	return nil
}

// showChannel answers for any valid channel name. A channel without subscribers
// is not occupied and has 0 subscribers.
func (a *API) showChannel(g *Gateway, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	channel := r.PathValue("channel")
	if err := message.CheckChannel(channel); err != nil {
		return err
	}
	respond.JSON(w, http.StatusOK, Channel{Channel: channel, Subscribers: g.Channels.Subscribers(app.ID, channel)})
	return nil
}

// pageLimit returns the number of entries per page.
func pageLimit(query url.Values) (int, error) {
	text := query.Get("limit")
	if text == "" {
		return DefaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > MaxPage {
		return 0, apierr.InvalidRequest("limit is a number from 1 to %d.", MaxPage)
	}
	return n, nil
}
