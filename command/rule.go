package command

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

func ruleCommand() *cobra.Command {
	set := adminCommand("set <app> <match>", "Adds a rule to an app, or replaces the one with the same match", 2, setRule)
	set.Long = `Adds a rule to an app, or replaces the one with the same match.

<match> is a channel's name, or the beginning of names followed by one *. The first
rule that matches a channel is its rule; a channel without a rule is open.

A rule that is replaced keeps its place. A new rule becomes the last one, but stands
before the first rule that matches all of its channels, for example *, because after
that it would have no effect. --first makes it the first rule. If the app has the
default rules, they become its own.`
	set.Example = `  caddy realtime rule set app_… 'orders.*' --access token
  caddy realtime rule set app_… 'room.*' --access token --presence --client-events --history '500 10m'
  caddy realtime rule set app_… '*' --access closed`
	set.Flags().String("access", "", "Who may subscribe: open, token or closed (required)")
	set.Flags().Bool("presence", false, "Subscribers see each other, by user")
	set.Flags().Bool("client-events", false, "Subscribers can send events to each other")
	set.Flags().String("history", "", "What each of the channels keeps: '100 2m', or 0 for nothing; as much as the app's others unless given")
	set.Flags().Bool("first", false, "Make it the first rule")
	return group("rule", "Lists and changes the rules that say who may subscribe to which channels",
		set,
		adminCommand("list <app>", "Lists the rules of an app, in the order in which they apply", 1, listRules),
		adminCommand("remove <app> <match>", "Removes a rule from an app", 2, removeRule),
		adminCommand("reset <app>", "Gives an app the default rules again", 1, resetRules),
	)
}

func listRules(c *adminClient, args []string) error {
	var app manage.App
	if ok, err := c.call(http.MethodGet, appPath(args[0]), nil, &app); !ok {
		return err
	}
	return c.showRules(app)
}

func setRule(c *adminClient, args []string) error {
	rule := manage.Rule{
		Match: args[1], Access: keystore.Access(c.flags.String("access")),
		Presence: c.flags.Bool("presence"), ClientEvents: c.flags.Bool("client-events"),
	}
	switch rule.Access {
	case keystore.AccessOpen, keystore.AccessToken, keystore.AccessClosed:
	default:
		return fmt.Errorf("who may subscribe? Use --access open, --access token or --access closed, not %q", rule.Access)
	}
	if err := manage.CheckPattern("<match>", rule.Match); err != nil {
		return errors.New(apierr.As(err).Message)
	}
	var err error
	if rule.History, err = parseHistory(c.flags.String("history")); err != nil {
		return err
	}
	first := c.flags.Bool("first")
	return c.changeRules(args[0], func(rules []manage.Rule) ([]manage.Rule, error) {
		return manage.PlaceRule(rules, rule, first), nil
	})
}

func removeRule(c *adminClient, args []string) error {
	return c.changeRules(args[0], func(rules []manage.Rule) ([]manage.Rule, error) {
		i := manage.FindRule(rules, args[1])
		if i < 0 {
			return nil, fmt.Errorf("the app has no rule for %s; list its rules: caddy realtime rule list %s", text.Quote(args[1]), args[0])
		}
		return slices.Delete(rules, i, i+1), nil
	})
}

func resetRules(c *adminClient, args []string) error {
	var app manage.App
	if ok, err := c.call(http.MethodPatch, appPath(args[0]), map[string]any{"channels": nil}, &app); !ok {
		return err
	}
	return c.showRules(app)
}

// maxChanges is how often a change of rules is tried again because somebody else
// has changed the app.
const maxChanges = 10

// changeRules replaces an app's rules with what change makes of them, and prints
// them. It loses no change that somebody else makes at the same time.
func (c *adminClient) changeRules(app string, change func([]manage.Rule) ([]manage.Rule, error)) error {
	for attempt := 1; ; attempt++ {
		seen, err := c.askWith(nil, http.MethodGet, appPath(app), nil)
		if err != nil {
			return err
		}
		var before, after manage.App
		if err := c.decode(seen.text, &before); err != nil {
			return err
		}
		rules, err := change(before.Channels)
		if err != nil {
			return err
		}
		header := http.Header{"If-Match": {seen.header.Get("ETag")}}
		changed, err := c.askWith(header, http.MethodPatch, appPath(app), map[string]any{"channels": rules})
		if r, ok := errors.AsType[*refusal](err); ok && r.code == "precondition_failed" && attempt < maxChanges {
			continue
		}
		if err != nil {
			return err
		}
		if before.DefaultRules {
			c.note("The app had the default rules, which are now its own. To return to them: caddy realtime rule reset %s", app)
		}
		if ok, err := c.read(changed.text, &after); !ok {
			return err
		}
		return c.showRules(after)
	}
}

// parseHistory reads "100 2m". "" means the app's history.
func parseHistory(said string) (*manage.History, error) {
	if said == "" {
		return nil, nil
	}
	messages, age, _ := strings.Cut(strings.TrimSpace(said), " ")
	n, err := strconv.Atoi(messages)
	if age = strings.TrimSpace(age); err != nil || n < 0 || (age == "") != (n == 0) {
		return nil, fmt.Errorf("--history %q is not a number of messages and how long they are kept; write --history '100 2m', or --history 0 for no history", said)
	}
	return &manage.History{Messages: n, Age: age}, nil
}

// showRules prints an app's rules.
func (c *adminClient) showRules(app manage.App) error {
	rows := make([][]string, 0, 1+len(app.Channels))
	rows = append(rows, []string{"MATCH", "ACCESS", "PRESENCE", "CLIENT EVENTS", "HISTORY"})
	for i, r := range app.Channels {
		history := "-"
		if r.History != nil {
			history = strings.TrimSpace(strconv.Itoa(r.History.Messages) + " " + r.History.Age)
		}
		rows = append(rows, []string{r.Match, string(r.Access), yesNo(r.Presence), yesNo(r.ClientEvents), history})
		if before := manage.Hiding(app.Channels, i); before >= 0 {
			c.note("The rule for %s has no effect: the one for %s is before it and matches all of its channels.", text.Quote(r.Match), text.Quote(app.Channels[before].Match))
		}
	}
	if app.DefaultRules {
		c.note("These are the default rules.")
	}
	if manage.FindRule(app.Channels, "*") < 0 {
		c.note("All other channels are open.")
	}
	return c.table(rows...)
}
