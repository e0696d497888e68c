package manage

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/presence"
)

// listChannels answers with a page of the occupied channels whose names begin
// with the query's prefix.
func (c *call) listChannels() error {
	query := c.r.URL.Query()
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
	occupied, more := c.Channels.List(c.app.ID, prefix, after, limit)
	page := struct {
		Channels []Channel `json:"channels"`
		Next     *string   `json:"next"`
	}{Channels: make([]Channel, 0, len(occupied))}
	for _, o := range occupied {
		page.Channels = append(page.Channels, Channel{Channel: o.Channel, Subscribers: o.Subscribers})
	}
	if more {
		page.Next = &occupied[len(occupied)-1].Channel
	}
	respond.JSON(c.w, http.StatusOK, page)
	return nil
}

// showChannel answers for any valid channel name. A channel without subscribers
// is not occupied and has 0 subscribers.
func (c *call) showChannel() error {
	view := Channel{Channel: c.channel, Subscribers: c.Channels.Subscribers(c.app.ID, c.channel)}
	if c.app.Rule(c.channel).Presence {
		view.Members = new(len(c.Presence.Members(c.app.ID, c.channel)))
	}
	respond.JSON(c.w, http.StatusOK, view)
	return nil
}

// listMembers answers with a page of the users in a channel with presence, in the
// order in which they have joined it.
func (c *call) listMembers() error {
	query := c.r.URL.Query()
	limit, err := pageLimit(query)
	if err != nil {
		return err
	}
	if !c.app.Rule(c.channel).Presence {
		return apierr.InvalidRequest("The channel has no presence: the app's rule for it does not say so. "+
			"Add one: caddy realtime rule set %s %s --presence", c.app.ID, c.channel)
	}
	members := c.Presence.Members(c.app.ID, c.channel)
	page := struct {
		Channel string            `json:"channel"`
		Count   int               `json:"count"`
		Members []presence.Member `json:"members"`
		Next    *string           `json:"next"`
	}{Channel: c.channel, Count: len(members)}
	if after := query.Get("after"); after != "" {
		i := slices.IndexFunc(members, func(m presence.Member) bool { return m.ID == after })
		if i < 0 {
			return NotAPlace(after) // or the user has left: the list has changed
		}
		members = members[i+1:]
	}
	if len(members) > limit {
		members = members[:limit]
		page.Next = &members[limit-1].ID
	}
	page.Members = append([]presence.Member{}, members...)
	respond.JSON(c.w, http.StatusOK, page)
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
