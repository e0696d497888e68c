package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/token"
)

func checkTokenCommand() *cobra.Command {
	check := adminCommand("check <app> [<token>]", "Says what a token allows, or why it is refused", 1, checkToken)
	check.Args = cobra.RangeArgs(1, 2)
	check.Long = `Says what a token allows, or why a client with it is refused; then the command
fails. Without <token>, or if it is -, the token is read from stdin, which keeps it
out of the shell's history and of lists of processes.

Header and claims are what the token says. The gateway has verified them only if
the token is valid. The token is neither stored nor logged.`
	check.Example = `  echo "$TOKEN" | caddy realtime token check app_…
  echo "$TOKEN" | caddy realtime token check app_… --channel private-user.42`
	check.Flags().String("channel", "", "Also say whether a client that has this token, and no subscribe key, may subscribe to a channel")
	return check
}

func checkToken(c *adminClient, args []string) error {
	raw, err := readToken(c.in, args[1:])
	if err != nil {
		return err
	}
	body := map[string]string{"token": raw}
	if c.flags.Changed("channel") {
		body["channel"] = c.flags.String("channel")
	}
	answer, err := c.ask(http.MethodPost, adminPath("tokens", args[0], "check"), body)
	if err != nil {
		return err
	}
	var checked manage.CheckedToken
	if err := c.decode(answer, &checked); err != nil {
		return err
	}
	if c.raw {
		_, err = c.read(answer, nil)
	} else {
		err = c.showChecked(checked)
	}
	if err != nil {
		return err
	}
	switch channel := checked.Channel; {
	case checked.Error != nil:
		return fmt.Errorf("the token is refused: %s", checked.Error.Message)
	case !checked.Valid:
		return fmt.Errorf("%s answers that the token is not valid, but not why; check --address", c.addr)
	case channel != nil && channel.Error != nil:
		return fmt.Errorf("the channel is refused: %s", channel.Error.Message)
	case channel != nil && !channel.Allowed:
		return fmt.Errorf("%s answers that the channel is not allowed, but not why; check --address", c.addr)
	}
	return nil
}

// showChecked prints what a token is worth.
func (c *adminClient) showChecked(checked manage.CheckedToken) error {
	rows := [][]string{{"valid", yesNo(checked.Valid)}}
	add := func(name, value string) { rows = append(rows, []string{name, value}) }
	if checked.Error != nil {
		add("code", checked.Error.Code)
	}
	if checked.Valid {
		add("key", checked.Key)
		add("user", orDash(checked.User))
	}
	if checked.Expires != nil {
		add("expires", checked.Expires.Local().Format(time.DateTime))
	}
	for _, grant := range checked.Channels {
		may := "subscribe"
		if grant.ClientEvents {
			may += ", send events"
		}
		add("channels", grant.Match+": "+may)
	}
	add("header", jsonOrDash(checked.Header))
	add("claims", jsonOrDash(checked.Claims))
	if channel := checked.Channel; channel != nil {
		add("channel", channel.Channel)
		add("rule", ruleName(channel.Rule))
		add("allowed", yesNo(channel.Allowed))
		if channel.Error != nil {
			add("code", channel.Error.Code)
		}
	}
	return c.table(rows...)
}

// jsonOrDash returns JSON for a cell.
func jsonOrDash(raw json.RawMessage) string {
	if jsonscan.IsNull(raw) {
		return "-"
	}
	return string(raw)
}

// ruleName says which rule a channel has.
func ruleName(rule *manage.Rule) string {
	if rule == nil {
		return "none, so the channel is open"
	}
	return rule.Match + ": " + string(rule.Access)
}

// readToken returns the token that the arguments name, or that is on stdin.
func readToken(stdin io.Reader, args []string) (string, error) {
	raw := "-"
	if len(args) > 0 {
		raw = args[0]
	}
	if raw == "-" {
		content, err := io.ReadAll(io.LimitReader(stdin, maxTokenInput))
		if err != nil {
			return "", fmt.Errorf("stdin: %w", err)
		}
		raw = string(content)
	}
	raw = strings.TrimSpace(raw)
	if raw == "" {
		return "", errors.New(`which token? Give it on stdin: echo "$TOKEN" | caddy realtime token check app_…`)
	}
	return raw, checkTokenText(raw)
}

// checkTokenText refuses what no token is, so that a secret is not sent.
func checkTokenText(raw string) error {
	switch {
	case len(raw) > token.MaxSize:
		return fmt.Errorf("that has more than %d bytes, which no token may have", token.MaxSize)
	case text.HasKey(raw):
		return errors.New("that is a key, not a token. Give the token that your backend has signed; the signing key stays there")
	case strings.Count(raw, ".") != 2:
		return errors.New("that is not a token: it has three parts with a dot between them, and begins with eyJ. Give the whole token, without quotes or the word Bearer")
	}
	return nil
}

// maxTokenInput bounds what is read of stdin: a token, and white space.
const maxTokenInput = 2 * token.MaxSize
