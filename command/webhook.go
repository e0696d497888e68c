package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

func webhookCommand() *cobra.Command {
	add := adminCommand("add <app> <url>", "Adds a webhook to an app", 2, addWebhook)
	add.Long = `Adds a webhook to an app: the URL is sent what happens in the app.

It prints the secret that verifies what is sent. The secret is shown only this once.`
	add.Example = `  caddy realtime webhook add app_… https://app.example.com/hooks
  caddy realtime webhook add app_… https://app.example.com/hooks --event channel.occupied --event channel.vacated --prefix orders.`
	add.Flags().Bool("paused", false, "Do not send events until the webhook is enabled")
	webhookFlags(add)
	set := adminCommand("set <app> <webhook>", "Changes a webhook", 2, setWebhook)
	set.Long = `Changes a webhook. What no flag names stays as it is.`
	set.Example = `  caddy realtime webhook set app_… hook_… --paused
  caddy realtime webhook set app_… hook_… --event rejected --prefix ''
  caddy realtime webhook set app_… hook_… --url https://app.example.com/other --enabled`
	set.Flags().String("url", "", "Where the events go")
	set.Flags().Bool("default-events", false, "Send the default events again")
	set.Flags().Bool("enabled", false, "Send events, also if the gateway disabled the webhook")
	set.Flags().Bool("paused", false, "Send no events")
	webhookFlags(set)
	rotate := adminCommand("rotate <app> <webhook>", "Gives a webhook a new secret", 2, rotateWebhook)
	rotate.Flags().String("overlap", "24h", "How long the old secret also signs")
	try := adminCommand("test <app> <webhook>", "Sends a test event to a webhook and says how it was received", 2, testWebhook)
	try.Flags().Duration("wait", 10*time.Second, "How long to wait for the receiver")
	return group("webhook", "Manages the URLs that are sent the events of an app",
		add, set, rotate, try,
		adminCommand("list <app>", "Lists the webhooks of an app", 1, listWebhooks),
		adminCommand("show <app> <webhook>", "Shows a webhook and its latest deliveries", 2, showWebhook),
		adminCommand("remove <app> <webhook>", "Removes a webhook", 2, removeWebhook),
	)
}

func webhookFlags(cmd *cobra.Command) {
	cmd.Flags().StringArray("event", nil, "What is sent; repeat it for more: "+strings.Join(keystore.HookEvents(), ", ")+". All but connection.opened and connection.closed unless given")
	cmd.Flags().String("prefix", "", "Only events of channels whose names begin with this")
}

func addWebhook(c *adminClient, args []string) error {
	body := map[string]any{"url": args[1], "prefix": c.flags.String("prefix"), "enabled": !c.flags.Bool("paused")}
	events, err := c.flags.GetStringArray("event")
	if err != nil {
		return err
	}
	if len(events) > 0 {
		body["events"] = events
	}
	return c.issueWebhook(webhookPath(args[0]), body)
}

func setWebhook(c *adminClient, args []string) error {
	events, err := c.flags.GetStringArray("event")
	if err != nil {
		return err
	}
	body := make(map[string]any)
	switch defaults := c.flags.Bool("default-events"); {
	case defaults && len(events) > 0:
		return errors.New("use either --event or --default-events, not both")
	case defaults:
		body["events"] = nil
	case len(events) > 0:
		body["events"] = events
	}
	switch enabled, paused := c.flags.Bool("enabled"), c.flags.Bool("paused"); {
	case enabled && paused:
		return errors.New("use either --enabled or --paused, not both")
	case enabled || paused:
		body["enabled"] = enabled
	}
	for _, name := range []string{"url", "prefix"} {
		if c.flags.Changed(name) {
			body[name] = c.flags.String(name)
		}
	}
	if len(body) == 0 {
		return errors.New("nothing to change; use --url, --event, --default-events, --prefix, --enabled or --paused")
	}
	var hook manage.Webhook
	if ok, err := c.call(http.MethodPatch, webhookPath(args[0], args[1]), body, &hook); !ok {
		return err
	}
	return c.showHook(hook)
}

func rotateWebhook(c *adminClient, args []string) error {
	overlap := c.flags.String("overlap")
	err := c.issueWebhook(webhookPath(args[0], args[1], "rotate"), map[string]string{"overlap": overlap})
	if err == nil {
		c.note("The old secret also signs for %s. One that is older than that no longer does.", overlap)
	}
	return err
}

// issueWebhook makes a secret and prints it.
func (c *adminClient) issueWebhook(path string, body any) error {
	var made manage.IssuedWebhook
	if ok, err := c.call(http.MethodPost, path, body, &made); !ok {
		return err
	}
	c.note("The secret is shown only this once.")
	return c.table([]string{"id", made.ID}, []string{"secret", made.Secret})
}

func listWebhooks(c *adminClient, args []string) error {
	var list struct {
		Webhooks []manage.Webhook `json:"webhooks"`
	}
	if ok, err := c.call(http.MethodGet, webhookPath(args[0]), nil, &list); !ok {
		return err
	}
	rows := [][]string{{"WEBHOOK", "EVENTS", "PREFIX", "SECRET ENDS IN", "URL", "STATE"}}
	for _, h := range list.Webhooks {
		rows = append(rows, []string{h.ID, strings.Join(h.Events, ","), orDash(valueOf(h.Prefix)), h.Last4, h.URL, webhookState(h)})
	}
	return c.table(rows...)
}

func showWebhook(c *adminClient, args []string) error {
	var hook manage.Webhook
	if ok, err := c.call(http.MethodGet, webhookPath(args[0], args[1]), nil, &hook); !ok {
		return err
	}
	return c.showHook(hook)
}

func removeWebhook(c *adminClient, args []string) error {
	_, err := c.ask(http.MethodDelete, webhookPath(args[0], args[1]), nil)
	if err == nil {
		c.note("Removed.")
	}
	return err
}

// testPoll is the interval at which test asks for the delivery.
const testPoll = 100 * time.Millisecond

func testWebhook(c *adminClient, args []string) error {
	path := webhookPath(args[0], args[1])
	before, err := c.deliveries(path)
	if err != nil {
		return err
	}
	if _, err := c.ask(http.MethodPost, path+"/test", nil); err != nil {
		return err
	}
	wait := c.flags.Duration("wait")
	for end := time.Now().Add(wait); ; time.Sleep(testPoll) {
		now, err := c.deliveries(path)
		if err != nil {
			return err
		}
		for _, d := range now {
			known := slices.ContainsFunc(before, func(b manage.WebhookDelivery) bool { return b.ID == d.ID && b.Attempt == d.Attempt })
			if !known {
				return c.showTested(d)
			}
		}
		if !time.Now().Before(end) {
			return fmt.Errorf("the receiver has not answered within %s; see caddy realtime webhook show %s %s", wait, args[0], args[1])
		}
	}
}

// deliveries returns the latest deliveries to a webhook.
func (c *adminClient) deliveries(path string) ([]manage.WebhookDelivery, error) {
	content, err := c.ask(http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	var hook manage.Webhook
	if err := c.decode(content, &hook); err != nil || hook.State == nil {
		return nil, err
	}
	return hook.State.Last, nil
}

// showTested prints the delivery of a test, which fails if it was not received.
func (c *adminClient) showTested(d manage.WebhookDelivery) error {
	content, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if ok, err := c.read(content, &d); err != nil {
		return err
	} else if ok {
		if err := c.table(deliveryHead, deliveryRow(d)); err != nil {
			return err
		}
	}
	if d.Error != nil {
		return fmt.Errorf("it was not received: %s", *d.Error)
	}
	return nil
}

// showHook prints a webhook, and how its deliveries stand.
func (c *adminClient) showHook(h manage.Webhook) error {
	events := strings.Join(h.Events, ", ")
	if h.DefaultEvents {
		events += " (the default ones)"
	}
	rows := [][]string{
		{"id", h.ID},
		{"url", h.URL},
		{"events", events},
		{"prefix", orDash(valueOf(h.Prefix))},
		{"state", webhookState(h)},
		{"created", h.Created.Format(time.DateTime)},
		{"secret ends in", h.Last4},
	}
	if h.PreviousUntil != nil {
		rows = append(rows, []string{"old secret until", h.PreviousUntil.Format(time.DateTime)})
	}
	if h.State == nil {
		return c.table(rows...)
	}
	rows = append(rows, []string{"waiting events", strconv.Itoa(h.State.Waiting)}, []string{"dropped events", strconv.FormatUint(h.State.Dropped, 10)})
	if h.State.NextAttempt != nil {
		rows = append(rows, []string{"next attempt", h.State.NextAttempt.Format(time.DateTime)})
	}
	if err := c.table(rows...); err != nil || len(h.State.Last) == 0 {
		return err
	}
	deliveries := [][]string{deliveryHead}
	for _, d := range h.State.Last {
		deliveries = append(deliveries, deliveryRow(d))
	}
	return c.table(deliveries...)
}

var deliveryHead = []string{"DELIVERY", "TIME", "EVENTS", "ATTEMPT", "STATUS", "TOOK", "ERROR"}

func deliveryRow(d manage.WebhookDelivery) []string {
	status := "-"
	if d.Status != nil {
		status = strconv.Itoa(*d.Status)
	}
	took := time.Duration(d.Milliseconds * float64(time.Millisecond)).Round(time.Microsecond)
	return []string{d.ID, d.Time.Format(time.DateTime), strconv.Itoa(d.Events), strconv.Itoa(d.Attempt), status, took.String(), orDash(valueOf(d.Error))}
}

// webhookState says whether a webhook is called, and since when its receiver fails.
func webhookState(h manage.Webhook) string {
	switch {
	case h.Problem != nil:
		return "disabled: " + *h.Problem
	case !h.Enabled:
		return "paused"
	case h.State != nil && h.State.FailingSince != nil:
		return "failing since " + h.State.FailingSince.Format(time.DateTime)
	}
	return "enabled"
}

// valueOf returns what p points to, or "".
func valueOf(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// webhookPath returns a path of the admin API.
func webhookPath(app string, more ...string) string {
	return adminPath("webhooks", app, more...)
}
