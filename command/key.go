package command

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/manage"
)

func keyCommand() *cobra.Command {
	add := adminCommand("add <app>", "Adds a key to an app", 1, addKey)
	add.Flags().String("kind", "", "publish or subscribe (required)")
	add.Flags().String("label", "", "What the key is for")
	add.Flags().String("expires", "", "How long the key is valid (720h, 30d) or until when (2030-01-31T12:00:00Z); forever unless given")
	rotate := adminCommand("rotate <app> <key>", "Creates a key that replaces another", 2, rotateKey)
	rotate.Flags().String("overlap", "24h", "How long the old key remains valid")
	return group("key", "Adds, lists, rotates and revokes keys",
		add, rotate,
		adminCommand("list <app>", "Lists the keys of an app, without their text", 1, listKeys),
		adminCommand("revoke <app> <key>", "Revokes a key and disconnects its sockets", 2, revokeKey),
	)
}

func addKey(c *adminClient, args []string) error {
	body := map[string]any{"kind": c.flags.String("kind"), "label": c.flags.String("label")}
	if text := c.flags.String("expires"); text != "" {
		expires, err := parseExpires(text, time.Now())
		if err != nil {
			return err
		}
		body["expires"] = expires
	}
	return c.issue(keyPath(args[0]), body)
}

// maxValidity bounds a duration of --expires: later times may not be valid in
// JSON, and a duration itself is limited to 292 years.
const maxValidity = 100 * 365 * 24 * time.Hour

// parseExpires reads a duration from now, or a time (RFC 3339).
func parseExpires(text string, now time.Time) (time.Time, error) {
	expires, err := time.Parse(time.RFC3339, text)
	if err != nil {
		validity, err := caddy.ParseDuration(text)
		if err != nil {
			return time.Time{}, fmt.Errorf("--expires %q is neither a duration nor a time; "+
				"write --expires 30d, or a time like %s", text, now.AddDate(0, 0, 30).UTC().Format(time.RFC3339))
		}
		if validity > maxValidity {
			return time.Time{}, fmt.Errorf("--expires %q is more than 100 years; omit it for a key that never expires", text)
		}
		expires = now.Add(validity)
	}
	if !expires.After(now) {
		return time.Time{}, fmt.Errorf("--expires %q is not in the future; write --expires 30d, or a time like %s",
			text, now.AddDate(0, 0, 30).UTC().Format(time.RFC3339))
	}
	return expires, nil
}

func rotateKey(c *adminClient, args []string) error {
	overlap := c.flags.String("overlap")
	err := c.issue(keyPath(args[0], args[1], "rotate"), map[string]string{"overlap": overlap})
	if err == nil {
		c.note("The old key remains valid for %s.", overlap)
	}
	return err
}

// issue makes a key and prints it.
func (c *adminClient) issue(path string, body any) error {
	var made manage.IssuedKey
	ok, err := c.call(http.MethodPost, path, body, &made)
	if !ok {
		return err
	}
	c.note("The key is shown only this once.")
	return c.table([]string{"id", made.ID}, []string{string(made.Kind) + " key", made.Secret})
}

func listKeys(c *adminClient, args []string) error {
	var list struct {
		Keys []manage.Key `json:"keys"`
	}
	if ok, err := c.call(http.MethodGet, keyPath(args[0]), nil, &list); !ok {
		return err
	}
	return c.table(keyRows(list.Keys)...)
}

func revokeKey(c *adminClient, args []string) error {
	_, err := c.ask(http.MethodDelete, keyPath(args[0], args[1]), nil)
	if err == nil {
		c.note("Revoked. Its sockets are disconnected.")
	}
	return err
}

func keyRows(keys []manage.Key) [][]string {
	rows := make([][]string, 0, 1+len(keys))
	rows = append(rows, []string{"KEY", "KIND", "ENDS IN", "CREATED", "LAST USED", "STATE", "LABEL"})
	for _, k := range keys {
		state, _ := k.State()
		used := "never"
		if k.LastUsed != nil {
			used = k.LastUsed.Format(time.DateTime)
		}
		rows = append(rows, []string{k.ID, string(k.Kind), k.Last4, k.Created.Format(time.DateTime), used, state, k.Label})
	}
	return rows
}
