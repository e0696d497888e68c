package command

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/manage"
)

func appCommand() *cobra.Command {
	return group("app", "Creates, lists, shows and deletes apps",
		adminCommand("create <name>", "Creates an app with a publish and a subscribe key", 1, createApp),
		adminCommand("list", "Lists the apps", 0, counting(listApps)),
		adminCommand("show <app>", "Shows an app and its keys", 1, counting(showApp)),
		adminCommand("delete <app>", "Deletes an app with its keys, and disconnects its sockets", 1, deleteApp),
	)
}

func createApp(c *adminClient, args []string) error {
	var made manage.CreatedApp
	ok, err := c.call(http.MethodPost, "/realtime/apps", map[string]string{"name": args[0]}, &made)
	if !ok {
		return err
	}
	c.note("The keys are shown only this once. The publish key is a secret of your backend.")
	return c.table(
		[]string{"app", made.ID}, []string{"publish key", made.PublishKey}, []string{"subscribe key", made.SubscribeKey},
	)
}

func listApps(c *adminClient, _ []string) error {
	apps, err := allApps(c)
	if err != nil {
		return err
	}
	if c.raw {
		return json.NewEncoder(c.out).Encode(map[string]any{"apps": apps})
	}
	rows := [][]string{{"APP", "NAME", "ENABLED", "KEYS", "CONNECTIONS"}}
	for _, app := range apps {
		rows = append(rows, []string{
			app.ID, app.Name, yesNo(app.Enabled), strconv.Itoa(len(app.Keys)), strconv.Itoa(app.Connections),
		})
	}
	return c.table(rows...)
}

// allApps reads page after page.
func allApps(c *adminClient) ([]manage.App, error) {
	apps := []manage.App{} // in JSON, an empty list, not null
	err := c.pages("/realtime/apps", nil, func(text []byte) error {
		var page struct {
			Apps []manage.App `json:"apps"`
		}
		err := c.decode(text, &page)
		apps = append(apps, page.Apps...)
		return err
	})
	return apps, err
}

func showApp(c *adminClient, args []string) error {
	var app manage.App
	if ok, err := c.call(http.MethodGet, appPath(args[0]), nil, &app); !ok {
		return err
	}
	rows := [][]string{
		{"app", app.ID},
		{"name", app.Name},
		{"enabled", yesNo(app.Enabled)},
		{"connections", strconv.Itoa(app.Connections)},
	}
	if app.RateLimit != nil {
		rows = append(rows, []string{"rate limit", strconv.Itoa(app.RateLimit.Publishes) + " " + app.RateLimit.Window})
	}
	if app.History != nil {
		rows = append(rows, []string{"history", strings.TrimSpace(strconv.Itoa(app.History.Messages) + " " + app.History.Age)})
	}
	if app.Recovery != nil {
		rows = append(rows, []string{"recovery", *app.Recovery})
	}
	for _, origin := range app.AllowedOrigins {
		rows = append(rows, []string{"origin", origin})
	}
	if err := c.table(rows...); err != nil {
		return err
	}
	return c.table(keyRows(app.Keys)...)
}

func deleteApp(c *adminClient, args []string) error {
	_, err := c.ask(http.MethodDelete, appPath(args[0]), nil)
	if err == nil {
		c.note("Deleted. Its sockets are disconnected.")
	}
	return err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
