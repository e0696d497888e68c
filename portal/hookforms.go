package portal

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// testWait bounds how long a page waits for the delivery of a test event: a receiver
// has 5 s to answer, and events are gathered for 1 s.
const testWait = 8 * time.Second

// changeHooks performs an action on an app's webhooks. The form's hook is the id of
// the one to change.
func (v *visit) changeHooks(id string) error {
	app, err := v.appForm(id)
	if err != nil {
		return err
	}
	form, o := v.r.PostForm, v.operator()
	hook := form.Get("hook")
	do := form.Get("do")
	switch do {
	case "add", "rotate":
		return v.issueHook(app, do)
	case "test":
		return v.testHook(app, hook)
	case "save":
		_, err = o.PatchHook(id, hook, v.hookForm().patch())
	case "pause", "resume":
		_, err = o.PatchHook(id, hook, &manage.HookPatch{Enabled: new(do == "resume")})
	case "remove":
		err = o.RemoveHook(id, hook)
	default:
		err = errNoAction()
	}
	if err != nil {
		return v.refuseHook(app, do, err)
	}
	return v.redirect(v.root() + "app/" + id + "/webhooks?done=" + do)
}

// issueHook adds a webhook, or gives one a new secret, and shows the secret.
func (v *visit) issueHook(app *keystore.App, do string) error {
	o := v.operator()
	var made keystore.Hook
	before, err := v.once(func() (string, error) {
		var err error
		if do == "add" {
			form := v.hookForm()
			patch := form.patch()
			patch.Enabled = new(!form.Paused)
			made, err = o.AddHook(app.ID, patch)
		} else {
			made, err = o.RotateHookSecret(app.ID, v.r.PostForm.Get("hook"), v.r.PostForm.Get("overlap"))
		}
		if err != nil {
			return "", err
		}
		return app.ID, nil
	})
	switch {
	case before != "":
		return v.redirect(v.root() + "app/" + app.ID + "/webhooks?done=again")
	case err != nil:
		return v.refuseHook(app, do, err)
	}
	now, err := v.app(app.ID)
	if err != nil {
		return err
	}
	page := v.hooksPage(now)
	issued := manage.IssuedWebhook{Webhook: v.gateway.ViewHook(app.ID, made), Secret: made.Secret}
	page.Issued = &issuedHook{issued, do == "rotate"}
	return v.showHooksAs(page, http.StatusCreated, pageView{})
}

// testHook sends a test event and shows how it was received.
func (v *visit) testHook(app *keystore.App, hook string) error {
	delivery, err := v.operator().TryHook(v.r.Context(), app.ID, hook, testWait, v.ending)
	if err != nil {
		return v.refuseHook(app, "test", err)
	}
	if app, err = v.app(app.ID); err != nil {
		return err
	}
	page := v.hooksPage(app)
	if row := page.row(hook); row != nil {
		row.Tested = true
	}
	var view pageView
	switch {
	case delivery == nil:
		view.Refusal = "The test event is sent, but the receiver has not answered within " + testWait.String() +
			", or other events wait before it. Load this page again to see its delivery."
	case delivery.Error != nil:
		view.Refusal = "The test event was not received: " + *delivery.Error + "."
	default:
		view.Notice = "The test event was received, in " + took(delivery) + "."
	}
	return v.showHooksAs(page, http.StatusOK, view)
}

// refuseHook shows the page with the reason why an action was refused: next to the
// field, if it is about one of the form's.
func (v *visit) refuseHook(app *keystore.App, do string, err error) error {
	if !onPage(err) {
		return err
	}
	page, refusal := v.hooksPage(app), apierr.As(err)
	form := &page.New
	if do == "save" {
		if row := page.row(v.r.PostForm.Get("hook")); row != nil {
			form = &row.Form
		}
	}
	view := pageView{Refusal: refusal.Message}
	if do == "add" || do == "save" {
		*form = v.hookForm()
		if field := fieldOf(refusal.Message, "url", "events", "prefix"); field != "" {
			form.Wrong = map[string]string{field: refusal.Message}
			view.Refusal = ""
		}
	}
	return v.showHooksAs(page, refusal.Status, view)
}

// fieldOf returns the field that a message begins with, or "".
func fieldOf(message string, fields ...string) string {
	first := message
	if end := strings.IndexFunc(message, func(r rune) bool { return r < 'a' || r > 'z' }); end >= 0 {
		first = message[:end]
	}
	if slices.Contains(fields, first) {
		return first
	}
	return ""
}

// hookForm returns the form as it was sent.
func (v *visit) hookForm() hookForm {
	form := v.r.PostForm
	return hookForm{
		Hook: form.Get("hook"), URL: strings.TrimSpace(form.Get("url")), Prefix: strings.TrimSpace(form.Get("prefix")),
		Chosen: form.Get("which") == "chosen", Events: eventsOf(form["event"]), Paused: form.Get("enabled") != "on", Open: true,
	}
}

// patch returns the webhook that the form describes, without whether it is enabled.
func (f hookForm) patch() *manage.HookPatch {
	patch := &manage.HookPatch{URL: &f.URL, Events: json.RawMessage("null"), Prefix: json.RawMessage("null")}
	if f.Chosen {
		chosen := []string{}
		for _, e := range f.Events {
			if e.Chosen {
				chosen = append(chosen, e.Name)
			}
		}
		patch.Events, _ = json.Marshal(chosen) // strings always marshal
	}
	if f.Prefix != "" {
		patch.Prefix, _ = json.Marshal(f.Prefix) // likewise
	}
	return patch
}
