package portal

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// notices are the portal's messages after an action.
func notices() map[string]string {
	return map[string]string{
		"add-key":    "The public key is added. Its kid in the table is for the header of its tokens.",
		"revoke":     "The key is revoked, and its sockets are disconnected.",
		"save":       "Saved. The change applies from the next request.",
		"disconnect": "The connection is closed.",
		"publish":    "Published.",
		"rules":      "The channel rules are changed. They apply at once, also to clients that are connected.",
		"again":      "This form was already sent, so nothing was done this time. A key or token is shown only once: if you have not copied it, rotate the key or make another token.",
	}
}

// changeApp performs a form's action. It answers a change with a redirect to the
// app's page, and a new key with the page that shows it. A page reload repeats
// neither.
func (v *visit) changeApp(id string) error {
	app, err := v.appForm(id)
	if err != nil {
		return err
	}
	form, o := v.r.PostForm, v.operator()
	var issued keystore.Issued
	do := form.Get("do")
	if strings.HasPrefix(do, "rule-") {
		return v.changeRules(app, do)
	}
	switch do {
	case "publish":
		return v.publish(app)
	case "check-token":
		return v.checkToken(app)
	case "make-token":
		return v.makeToken(app)
	case "add-key", "rotate":
		var before string
		before, err = v.once(func() (string, error) {
			if issued, err = v.issue(o, id, do); err != nil {
				return "", err
			}
			return id, nil
		})
		if before != "" {
			return v.sentAlready(before)
		}
	case "revoke":
		err = o.RevokeKey(id, form.Get("key"))
	case "disconnect":
		err = o.Disconnect(id, form.Get("socket"))
	case "save":
		_, err = o.PatchApp(id, v.patch(), func(app *keystore.App) error { return manage.CheckMatch(form["etag"], app) })
	case "delete":
		if strings.TrimSpace(form.Get("confirm")) != app.Name {
			err = apierr.InvalidRequest("The name does not match. Type %s to delete the app.", strconv.Quote(app.Name))
			break
		}
		if err = o.DeleteApp(id); err == nil {
			return v.redirect(v.root() + "?done=delete")
		}
	default:
		err = errNoAction()
	}
	switch {
	case err != nil:
		return v.refuseOn(v.appPage(app), err)
	case issued.Secret != "":
		return v.showIssued(issued.App, secret{issued.Key.Kind, issued.Secret, issued.Key.ID})
	}
	return v.redirect(v.root() + "app/" + id + "?done=" + do)
}

func errNoAction() error { return apierr.InvalidRequest("The form does not say what to do.") }

// refuseOn shows the app's page with the reason why an action was refused. An error
// that is not about the form has a page of its own.
func (v *visit) refuseOn(page *appPage, err error) error {
	if !onPage(err) {
		return err
	}
	refusal := apierr.As(err)
	return v.show(refusal.Status, appTemplate, pageView{Title: page.App.Name, Refusal: refusal.Message, Content: page})
}

// onPage reports whether an error is about the form, and is shown on the form's page.
func onPage(err error) bool {
	status := apierr.As(err).Status
	return status != http.StatusNotFound && status < http.StatusInternalServerError
}

// redirect sends the browser to another page. The URL is relative, because a proxy
// in front of this server can serve the portal at another path.
func (v *visit) redirect(to string) error {
	v.w.Header().Set("Location", to)
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// issue makes the key that the form describes.
func (v *visit) issue(o manage.Operator, app, do string) (keystore.Issued, error) {
	if do == "add-key" {
		return v.addKey(o, app)
	}
	return o.RotateKey(app, v.r.PostForm.Get("key"), v.r.PostForm.Get("overlap"))
}

func (v *visit) addKey(o manage.Operator, app string) (keystore.Issued, error) {
	form := v.r.PostForm
	var expires *time.Time
	if text := form.Get("days"); text != "" {
		days, err := strconv.Atoi(text)
		if err != nil || days < 1 || days > 36500 {
			return keystore.Issued{}, apierr.InvalidRequest("A key can be valid for 1 to 36500 days.")
		}
		expires = new(time.Now().AddDate(0, 0, days))
	}
	public, err := manage.ReadPublicKey(form.Get("public_key"))
	if err != nil {
		return keystore.Issued{}, err
	}
	var scopes []keystore.Scope // nil: the default
	for scope := range strings.FieldsSeq(form.Get("scopes")) {
		scopes = append(scopes, keystore.Scope(scope))
	}
	return o.AddKey(app, manage.NewKey{Kind: keystore.Kind(form.Get("kind")), Label: form.Get("label"), Expires: expires, Scopes: scopes, Public: public})
}

// patch returns the patch of the settings form, which sets all of its fields.
func (v *visit) patch() *manage.Patch {
	form := v.r.PostForm
	name, enabled := form.Get("name"), form.Get("enabled") == "on"
	origins := strings.Fields(form.Get("origins"))
	patch := &manage.Patch{
		Name: &name, Enabled: &enabled, AllowedOrigins: &origins,
		MaxConnections: numberOrNull(form.Get("max_connections")),
		MaxChannels:    numberOrNull(form.Get("max_channels")),

		MaxConnectionsPerUser: numberOrNull(form.Get("max_connections_per_user")),

		MaxBody:   numberOrNull(form.Get("max_body")),
		RateLimit: json.RawMessage("null"),
		History:   historyOrNull(form.Get("history"), form.Get("history_age")),
		Recovery:  json.RawMessage("null"),
	}
	if publishes := strings.TrimSpace(form.Get("publishes")); publishes != "" {
		rate := map[string]any{"publishes": numberOrNull(publishes)}
		if window := strings.TrimSpace(form.Get("window")); window != "" {
			rate["window"] = window
		}
		patch.RateLimit, _ = json.Marshal(rate) // strings and numbers always marshal
	}
	if recovery := strings.TrimSpace(form.Get("recovery")); recovery != "" {
		patch.Recovery, _ = json.Marshal(recovery) // likewise
	}
	return patch
}

// historyOrNull returns two fields as JSON. It leaves invalid values for the patch to
// reject.
func historyOrNull(messages, age string) json.RawMessage {
	if strings.TrimSpace(messages) == "" {
		return json.RawMessage("null")
	}
	history := map[string]any{"messages": numberOrNull(messages)}
	if age = strings.TrimSpace(age); age != "" {
		history["age"] = age
	}
	raw, _ := json.Marshal(history) // strings and numbers always marshal
	return raw
}

// numberOrNull returns a field as JSON. It leaves invalid numbers for the patch to
// reject.
func numberOrNull(text string) json.RawMessage {
	text = strings.TrimSpace(text)
	if text == "" {
		return json.RawMessage("null")
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		quoted, _ := json.Marshal(text) // a string always marshals
		return quoted
	}
	return strconv.AppendInt(nil, n, 10) // normalized: 007 is not valid JSON
}
