package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/manage"
)

func tokenCommand() *cobra.Command {
	create := adminCommand("create <app>", "Prints a token for a user, to try things", 1, createToken)
	create.Long = `Prints a token for a user, to try things. Users get their tokens from your backend,
which signs them.

The token is signed with the newest valid secret of the app: caddy realtime key add
<app> --kind sign. Only the token is on stdout.`
	create.Example = `  TOKEN=$(caddy realtime token create app_… --user 42 --channel private-user.42)
  caddy realtime token create app_… --user 42 --channel 'presence-room.*' --info '{"name":"Ann"}' --expires-in 10m`
	create.Flags().String("user", "", "The user's id (required)")
	create.Flags().StringArray("channel", nil, "A channel that the user may subscribe to, or the beginning of names with a *; can be repeated")
	create.Flags().StringArray("client-events", nil, "Like --channel, and the user may send events to its subscribers; can be repeated")
	create.Flags().String("info", "", "What presence shows of the user, as JSON")
	create.Flags().String("expires-in", "1h", "How long the token is valid, at most 24h")
	return group("token", "Creates and checks tokens", create, checkTokenCommand())
}

func createToken(c *adminClient, args []string) error {
	user := c.flags.String("user")
	if user == "" {
		return errors.New("which user? Use --user with the user's id: --user 42")
	}
	plain, err := c.flags.GetStringArray("channel")
	if err != nil {
		return err
	}
	sending, err := c.flags.GetStringArray("client-events")
	if err != nil {
		return err
	}
	channels := make([]any, 0, len(plain)+len(sending))
	for _, match := range plain {
		channels = append(channels, match)
	}
	for _, match := range sending {
		channels = append(channels, map[string]any{"match": match, "client_events": true})
	}
	body := map[string]any{"user": user, "channels": channels, "expires_in": c.flags.String("expires-in")}
	if said := c.flags.String("info"); said != "" {
		info, err := tokenInfo(said)
		if err != nil {
			return err
		}
		body["info"] = info
	}
	var made manage.Token
	ok, err := c.call(http.MethodPost, adminPath("tokens", args[0]), body, &made)
	if !ok {
		return err
	}
	c.note("It is valid until %s, and signed with %s.", made.Expires.Local().Format(time.DateTime), made.Key)
	_, err = fmt.Fprintln(c.out, visible(made.Token))
	return err
}

// tokenInfo checks the JSON in --info.
func tokenInfo(said string) (json.RawMessage, error) {
	if !json.Valid([]byte(said)) {
		return nil, fmt.Errorf(`--info %q is not JSON; a text needs quotes of its own: --info '{"name":"Ann"}'`, said)
	}
	return json.RawMessage(said), nil
}
