package manage

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
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
		view.Members = new(c.Presence.Count(c.app.ID, c.channel))
	}
	respond.JSON(c.w, http.StatusOK, view)
	return nil
}

func (c *call) listMembers() error {
	query := c.r.URL.Query()
	limit, err := pageLimit(query)
	if err != nil {
		return err
	}
	page, err := c.Members(c.app, c.channel, query.Get("after"), limit)
	if err != nil {
		return err
	}
	respond.JSON(c.w, http.StatusOK, page)
	return nil
}

// A MemberPage is a page of the users in a channel with presence, in the order of
// Presence.Members.
type MemberPage struct {
	Channel string            `json:"channel"`
	Count   int               `json:"count"` // of all members
	Members []presence.Member `json:"members"`
	Next    *string           `json:"next"`
}

// Members returns at most limit of a channel's members, after the one in after. It
// fails if the channel has no presence, or after is not a member.
func (g *Gateway) Members(app *keystore.App, channel, after string, limit int) (MemberPage, error) {
	if !app.Rule(channel).Presence {
		return MemberPage{}, apierr.InvalidRequest("The channel has no presence: the app's rule for it does not say so. "+
			"Add one: caddy realtime rule set %s %s --presence", app.ID, channel)
	}
	members := g.Presence.Members(app.ID, channel)
	page := MemberPage{Channel: channel, Count: len(members)}
	if after != "" {
		i := slices.IndexFunc(members, func(m presence.Member) bool { return m.ID == after })
		if i < 0 {
			return MemberPage{}, NotAPlace(after) // or the user has left: the list has changed
		}
		members = members[i+1:]
	}
	if len(members) > limit {
		members = members[:limit]
		page.Next = &members[limit-1].ID
	}
	page.Members = append([]presence.Member{}, members...)
	return page, nil
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
