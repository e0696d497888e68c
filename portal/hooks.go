package portal

import (
	"net/http"
	"slices"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// hooksPage is the data of the page with an app's webhooks, see portal/webhooks.html.
type hooksPage struct {
	App    *keystore.App
	Rows   []hookRow
	New    hookForm
	Most   int         // webhooks that an app can have
	Issued *issuedHook // shown once
}

// Full reports whether no webhook can be added.
func (p *hooksPage) Full() bool { return len(p.Rows) >= p.Most }

// issuedHook is a new secret of a webhook.
type issuedHook struct {
	manage.IssuedWebhook
	Rotated bool // the webhook had a secret before
}

// hookRow is a webhook on the page.
type hookRow struct {
	manage.Webhook
	Form   hookForm
	Tested bool // its deliveries are shown
}

// Received returns the latest delivery that was received, or nil.
func (r hookRow) Received() *manage.WebhookDelivery {
	return r.latest(func(d manage.WebhookDelivery) bool { return d.Error == nil })
}

// Failed returns the latest delivery that failed, or nil.
func (r hookRow) Failed() *manage.WebhookDelivery {
	return r.latest(func(d manage.WebhookDelivery) bool { return d.Error != nil })
}

func (r hookRow) latest(is func(manage.WebhookDelivery) bool) *manage.WebhookDelivery {
	if r.State == nil {
		return nil
	}
	if i := slices.IndexFunc(r.State.Last, is); i >= 0 {
		return &r.State.Last[i]
	}
	return nil
}

// Took returns how long a delivery took, for people.
func (r hookRow) Took(d *manage.WebhookDelivery) string { return took(d) }

func took(d *manage.WebhookDelivery) string {
	return time.Duration(d.Milliseconds * float64(time.Millisecond)).Round(100 * time.Microsecond).String()
}

// hookForm holds the values of a form for a webhook.
type hookForm struct {
	Hook        string // its id; "" for a new one
	URL, Prefix string
	Chosen      bool // not the default events
	Events      []hookEvent
	Paused      bool // of a new one

	Open  bool              // it was refused, and is shown again
	Wrong map[string]string // why, by the name of the field
}

// hookEvent is a type of event, and whether it is chosen.
type hookEvent struct {
	Name   string
	Chosen bool
}

// eventsOf returns all types of events, of which some are chosen.
func eventsOf(chosen []string) []hookEvent {
	all := keystore.HookEvents()
	events := make([]hookEvent, 0, len(all))
	for _, name := range all {
		events = append(events, hookEvent{name, slices.Contains(chosen, name)})
	}
	return events
}

func newHookForm(h *manage.Webhook) hookForm {
	form := hookForm{Hook: h.ID, URL: h.URL, Chosen: !h.DefaultEvents, Events: eventsOf(h.Events)}
	if h.Prefix != nil {
		form.Prefix = *h.Prefix
	}
	return form
}

// hooksPage collects the data of the page.
func (v *visit) hooksPage(app *keystore.App) *hooksPage {
	p := &hooksPage{App: app, New: hookForm{Events: eventsOf(keystore.DefaultHookEvents())}, Most: keystore.MaxHooks}
	for _, hook := range v.gateway.ViewHooks(app) {
		p.Rows = append(p.Rows, hookRow{Webhook: hook, Form: newHookForm(&hook)})
	}
	return p
}

// row returns a webhook on the page, or nil.
func (p *hooksPage) row(id string) *hookRow {
	i := slices.IndexFunc(p.Rows, func(r hookRow) bool { return r.ID == id })
	if i < 0 {
		return nil
	}
	return &p.Rows[i]
}

// hookNotices are the page's messages after an action.
func hookNotices() map[string]string {
	return map[string]string{
		"save":   "Saved. The change applies from the next delivery.",
		"pause":  "The webhook is paused. Nothing is sent to it until you resume it.",
		"resume": "The webhook is enabled. It gets what was left in its queue, and then state.reset.",
		"remove": "The webhook is removed.",
		"again":  "This form was already sent, so nothing was done this time. A secret is shown only once: if you have not copied it, rotate the secret.",
	}
}

func (v *visit) showHooks(id string) error {
	app, err := v.app(id)
	if err != nil {
		return err
	}
	return v.showHooksAs(v.hooksPage(app), http.StatusOK, pageView{Notice: hookNotices()[v.r.URL.Query().Get("done")]})
}

// showHooksAs shows the page together with the notice or refusal in a view.
func (v *visit) showHooksAs(page *hooksPage, status int, view pageView) error {
	view.Title, view.Content = "Webhooks of "+page.App.Name, page
	return v.show(status, hooksTemplate, view)
}
