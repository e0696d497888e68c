package portal

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// rowChannels limits the channels of a user, or of a socket, in a table.
const rowChannels = 5

// usersPage is the data of the page with an app's users, see portal/users.html: one
// that was asked for, or those with sockets.
type usersPage struct {
	App   *keystore.App
	Typed string // the user that was asked for
	Wrong string // why there cannot be such a user, or ""

	User *manage.User // nil: not asked for one

	Users []userRow
	Next  string // where the next page of users, or of the user's sockets, begins after; "" on the last one
	After string // where this one does
}

// userRow is a user in the table.
type userRow struct {
	manage.User
	Channels []string // some of them
	More     bool
}

// newUserRow returns the row of a user with some of its sockets.
func newUserRow(u *manage.User) userRow {
	row := userRow{User: *u, More: u.Next != nil}
	for _, c := range u.Connections {
		row.Channels = append(row.Channels, c.Channels...)
	}
	slices.Sort(row.Channels)
	row.Channels = slices.Compact(row.Channels)
	if len(row.Channels) > rowChannels {
		row.Channels, row.More = row.Channels[:rowChannels], true
	}
	return row
}

// userNotices are the page's messages after an action.
func userNotices() map[string]string {
	return map[string]string{
		"disconnect": "The user is disconnected. Its tokens stay valid, so a page that is loaded again connects again.",
		"away":       "The user had no sockets, so nobody was disconnected.",
		"revoke":     "The user is signed out everywhere: tokens that were issued before now are refused.",
	}
}

func (v *visit) showUsers(id string) error {
	app, err := v.app(id)
	if err != nil {
		return err
	}
	query := v.r.URL.Query()
	page := &usersPage{App: app, Typed: query.Get("user"), After: query.Get("after")}
	if page.Typed != "" {
		return v.showUser(page)
	}
	if page.After != "" && message.CheckUser("after", page.After) != nil {
		return manage.NotAPlace(page.After)
	}
	v.listUsers(page)
	return v.showUsersAs(page, http.StatusOK, pageView{})
}

// listUsers fills in the list of users.
func (v *visit) listUsers(page *usersPage) {
	users, next := v.gateway.Users(page.App, page.After, rows, rowChannels)
	for _, u := range users {
		page.Users = append(page.Users, newUserRow(&u))
	}
	page.Next = next
}

// showUser shows the user that was asked for, also one without sockets.
func (v *visit) showUser(page *usersPage) error {
	if err := message.CheckUser("user", page.Typed); err != nil {
		return v.refuseUser(page, err)
	}
	if page.After != "" && !socketio.IsID(page.After) {
		return manage.NotAPlace(page.After)
	}
	user := v.gateway.User(page.App, page.Typed, page.After, rows)
	page.User = &user
	if user.Next != nil {
		page.Next = *user.Next
	}
	return v.showUsersAs(page, http.StatusOK, pageView{Notice: userNotices()[v.r.URL.Query().Get("done")]})
}

// showUsersAs shows the page together with the notice or refusal in a view.
func (v *visit) showUsersAs(page *usersPage, status int, view pageView) error {
	view.Title, view.Content = "Users of "+page.App.Name, page
	return v.show(status, usersTemplate, view)
}

// refuseUser shows the list with the reason why a user cannot be, next to its field.
func (v *visit) refuseUser(page *usersPage, err error) error {
	refusal := apierr.As(err)
	page.Wrong, page.After = refusal.Message, ""
	v.listUsers(page)
	return v.showUsersAs(page, refusal.Status, pageView{})
}

// changeUser performs an action on the form's user.
func (v *visit) changeUser(id string) error {
	app, err := v.appForm(id)
	if err != nil {
		return err
	}
	user, do := v.r.PostForm.Get("user"), v.r.PostForm.Get("do")
	page := &usersPage{App: app, Typed: user}
	if err := message.CheckUser("user", user); err != nil {
		return v.refuseUser(page, err)
	}
	switch do {
	case "disconnect":
		var done manage.DisconnectedUser
		if done, err = v.operator().DisconnectUser(id, user); err == nil && done.Disconnected == 0 {
			do = "away"
		}
		v.awaitClosed(app, user)
	case "revoke":
		_, err = v.operator().SignOut(v.r.Context(), id, user)
	default:
		err = errNoAction()
	}
	if err != nil {
		if !onPage(err) {
			return err
		}
		view := v.gateway.User(app, user, "", rows)
		page.User = &view
		refusal := apierr.As(err)
		return v.showUsersAs(page, refusal.Status, pageView{Refusal: refusal.Message})
	}
	return v.redirect(v.root() + "app/" + id + "/users?user=" + url.QueryEscape(user) + "&done=" + do)
}

// closedWait bounds how long an answer waits for sockets that are being closed.
const closedWait = 2 * time.Second

// awaitClosed waits until a user has no sockets, so that the next page does not show
// those that are being closed. The user may connect again meanwhile.
func (v *visit) awaitClosed(app *keystore.App, user string) {
	end := time.NewTimer(closedWait)
	defer end.Stop()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for v.gateway.User(app, user, "", 1).Sockets > 0 {
		select {
		case <-poll.C:
		case <-end.C:
			return
		case <-v.r.Context().Done():
			return
		}
	}
}
