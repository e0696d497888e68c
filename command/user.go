package command

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

func userCommand() *cobra.Command {
	list := adminCommand("list <app>", "Lists the users who are connected, and how many sockets each has", 1, counting(listUsers))
	list.Long = `Lists the users who are connected, and how many sockets each has. A user is who a
token says it is; sockets without one are not listed.`
	disconnect := adminCommand("disconnect <app> <user>", "Closes a user's sockets", 2, ofUser(disconnectUser))
	disconnect.Long = `Closes a user's sockets. The user's tokens stay valid, so that the user can connect
again. Messages that a socket has missed by now are not recovered.`
	revoke := adminCommand("revoke <app> <user>", "Makes a user's tokens invalid, and closes its sockets", 2, ofUser(revokeUser))
	revoke.Long = `Makes all tokens invalid that were issued to a user until now, and closes its
sockets. A token that is issued after the command has ended is valid: stop your
backend from issuing them to a user who must not come back.`
	return group("user", "Lists, shows, disconnects and revokes users",
		list,
		adminCommand("show <app> <user>", "Shows a user's sockets", 2, counting(ofUser(showUser))),
		disconnect, revoke,
	)
}

// ofUser checks the arguments <app> <user>: without a user, the path would be that of
// something else.
func ofUser(run func(c *adminClient, args []string) error) func(*adminClient, []string) error {
	return func(c *adminClient, args []string) error {
		if err := message.CheckUser("<user>", args[1]); err != nil {
			return err
		}
		return run(c, args)
	}
}

func listUsers(c *adminClient, args []string) error {
	users := []manage.UserCount{} // in JSON, an empty list, not null
	err := c.pages(adminPath("users", args[0]), nil, func(text []byte) error {
		var page struct {
			Users []manage.UserCount `json:"users"`
		}
		err := c.decode(text, &page)
		users = append(users, page.Users...)
		return err
	})
	if err != nil {
		return err
	}
	if c.raw {
		return c.printJSON(map[string]any{"users": users})
	}
	rows := [][]string{{"USER", "SOCKETS"}}
	for _, u := range users {
		rows = append(rows, []string{u.User, strconv.Itoa(u.Sockets)})
	}
	return c.table(rows...)
}

func showUser(c *adminClient, args []string) error {
	path := adminPath("users", args[0], args[1]) + "?limit=" + strconv.Itoa(listPage)
	var user manage.User
	if ok, err := c.call(http.MethodGet, path, nil, &user); !ok {
		return err
	}
	rows := [][]string{{"user", user.User}, {"sockets", strconv.Itoa(user.Sockets)}}
	if user.Revoked != nil {
		rows = append(rows, []string{"tokens revoked", "issued until " + user.Revoked.Format(time.DateTime)})
	}
	if err := c.table(rows...); err != nil || len(user.Connections) == 0 {
		return err
	}
	sockets := [][]string{{"SOCKET", "ADDRESS", "TRANSPORT", "CONNECTED", "CHANNELS"}}
	for _, s := range user.Connections {
		sockets = append(sockets, []string{s.ID, s.ClientIP, s.Transport, s.Connected.Format(time.DateTime), orDash(strings.Join(s.Channels, " "))})
	}
	if user.Next != nil {
		c.note("Only the first %d sockets are shown.", len(user.Connections))
	}
	return c.table(sockets...)
}

func disconnectUser(c *adminClient, args []string) error {
	var done manage.DisconnectedUser
	if ok, err := c.call(http.MethodDelete, adminPath("users", args[0], args[1], "connections"), nil, &done); !ok {
		return err
	}
	c.note("%s disconnected. The user's tokens stay valid.", sockets(done.Disconnected))
	return nil
}

func revokeUser(c *adminClient, args []string) error {
	var done manage.DisconnectedUser
	if ok, err := c.call(http.MethodPost, adminPath("users", args[0], args[1], "revoke"), nil, &done); !ok {
		return err
	}
	c.note("Revoked: the user's tokens that were issued until now are invalid. %s disconnected.", sockets(done.Disconnected))
	return nil
}

// sockets returns how many sockets there are, as the subject of a sentence.
func sockets(n int) string {
	if n == 1 {
		return "1 socket is"
	}
	return strconv.Itoa(n) + " sockets are"
}

// printJSON prints a result that is put together from several answers.
func (c *adminClient) printJSON(result any) error {
	text, err := json.Marshal(result)
	if err != nil {
		return err
	}
	_, err = c.read(text, nil)
	return err
}
