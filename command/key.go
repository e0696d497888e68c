package command

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

func keyCommand() *cobra.Command {
	add := adminCommand("add <app>", "Adds a key to an app", 1, addKey)
	add.Flags().String("kind", "", "publish, subscribe or sign (required)")
	add.Flags().String("label", "", "What the key is for")
	add.Flags().String("expires", "", "How long the key is valid (720h, 30d) or until when (2030-01-31T12:00:00Z); forever unless given")
	add.Flags().StringArray("scope", nil, "What a publish key is good for: publish or manage; repeat it for both. Only publish unless given")
	add.Flags().String("public-key", "", "File with the public key that verifies the tokens of a signing key, as PEM or JWK; without it, a secret for HS256 is made")
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
	if said := c.flags.String("expires"); said != "" {
		expires, err := parseExpires(said, time.Now())
		if err != nil {
			return err
		}
		body["expires"] = expires
	}
	scopes, err := c.flags.GetStringArray("scope")
	if err != nil {
		return err
	}
	kind, file := c.flags.String("kind"), c.flags.String("public-key")
	switch {
	case len(scopes) > 0 && kind != string(keystore.Publish):
		return errors.New("--scope is for --kind publish")
	case file != "" && kind != string(keystore.Sign):
		return errors.New("--public-key is for --kind sign")
	}
	if len(scopes) > 0 {
		body["scopes"] = scopes
	}
	if file != "" {
		public, err := readPublicKey(file)
		if err != nil {
			return err
		}
		body["public_key"] = public
	}
	return c.issue(keyPath(args[0]), body)
}

// readPublicKey reads a file with PEM or a JWK. It checks it here, so that a private
// key is not sent.
func readPublicKey(file string) (json.RawMessage, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("--public-key: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, manage.MaxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("--public-key: %w", err)
	case len(content) > manage.MaxBody:
		return nil, fmt.Errorf("--public-key: %s has more than %d bytes, which no public key has", file, manage.MaxBody)
	}
	raw, err := manage.PublicKeyJSON(content)
	if err != nil {
		return nil, err
	}
	if err := manage.CheckPublicKey(raw); err != nil {
		return nil, fmt.Errorf("--public-key %s: %s", file, apierr.As(err).Message)
	}
	return raw, nil
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
	if made.Secret == "" {
		c.note("Tokens that the private half signs are valid. Their header's kid is the id, or absent if the app has no other signing key.")
		return c.table([]string{"id", made.ID}, []string{"algorithm", string(made.Algorithm)})
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
	rows = append(rows, []string{"KEY", "KIND", "ENDS IN", "SCOPES", "ALGORITHM", "CREATED", "LAST USED", "STATE", "LABEL"})
	for _, k := range keys {
		state, _ := k.State()
		used := "never"
		if k.LastUsed != nil {
			used = k.LastUsed.Format(time.DateTime)
		}
		scopes := make([]string, 0, len(k.Scopes))
		for _, scope := range k.Scopes {
			scopes = append(scopes, string(scope))
		}
		rows = append(rows, []string{k.ID, string(k.Kind), k.Last4, orDash(strings.Join(scopes, ",")), orDash(string(k.Algorithm)), k.Created.Format(time.DateTime), used, state, k.Label})
	}
	return rows
}

// orDash fills a cell that would be empty, so that scripts can count columns.
func orDash(cell string) string { return cmp.Or(cell, "-") }
