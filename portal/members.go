package portal

import (
	"net/http"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

// membersPage is the data of the page with the users in a channel with presence, see
// portal/members.html.
type membersPage struct {
	App         *keystore.App
	Subscribers int
	manage.MemberPage
}

func (v *visit) showMembers(id string) error {
	app, err := v.app(id)
	if err != nil {
		return err
	}
	query := v.r.URL.Query()
	channel, after := query.Get("channel"), query.Get("after")
	if err := message.CheckChannel(channel); err != nil {
		return err
	}
	view := pageView{Title: "Members of " + channel}
	members, err := v.gateway.Members(app, channel, after, rows)
	if err != nil && after != "" { // the user has left: its place in the list is gone
		view.Notice = "The list has changed, so it is shown from its beginning."
		members, err = v.gateway.Members(app, channel, "", rows)
	}
	if err != nil {
		return err
	}
	view.Content = &membersPage{App: app, Subscribers: v.gateway.Channels.Subscribers(app.ID, channel), MemberPage: members}
	return v.show(http.StatusOK, membersTemplate, view)
}

// Text returns what presence shows of a member, as text.
func (*membersPage) Text(info []byte) string { return string(info) }
