package portal

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

// publish publishes the console form's event within the app's limits, and answers
// the page's script in JSON, like POST /publish.
func (v *visit) publish(app *keystore.App) error {
	form := v.r.PostForm
	answer, err := v.publishForm(app)
	if err != nil {
		v.gateway.Publisher.Refused(app.ID, apierr.As(err))
	}
	switch {
	case v.wantsJSON() && err != nil:
		return err
	case v.wantsJSON():
		message.WriteAnswer(v.w, answer)
		return nil
	case err != nil:
		refusal := v.explain(err)
		refusal.SetHeaders(v.w.Header())
		page := v.appPage(app)
		page.Console = console{form.Get("channel"), form.Get("event"), form.Get("data"), v.noHistory()}
		return v.showAppAs(app, refusal.Status, pageView{Refusal: refusal.Message, Content: page})
	}
	return v.redirect(v.root() + "app/" + app.ID + "?done=publish#console")
}

// noHistory reports whether the form has the checkbox, and it is not checked.
// Programs may send the form without it.
func (v *visit) noHistory() bool {
	values := v.r.PostForm["history"]
	return len(values) > 0 && !slices.Contains(values, "on")
}

// publishForm publishes to the form's channels, and returns the answer's body.
func (v *visit) publishForm(app *keystore.App) (answer []byte, err error) {
	form := v.r.PostForm
	var data []byte
	if text := strings.TrimSpace(form.Get("data")); text != "" {
		data = []byte(text)
	}
	channels := channelLines(form.Get("channel"))
	if len(channels) > 1 {
		return v.publishToChannels(app, channels, data)
	}
	p, err := message.New(strings.Join(channels, ""), form.Get("event"), data)
	if err != nil {
		return nil, err
	}
	p.NoHistory = v.noHistory()
	receipt, limit, err := v.gateway.Publisher.Publish(v.r.Context(), app, p)
	respond.SetRateLimit(v.w.Header(), limit)
	if err != nil {
		return nil, err
	}
	return receipt.Answer(nil), nil
}

// publishToChannels publishes the form's event to several channels, by the rules of
// a request with "channels".
func (v *visit) publishToChannels(app *keystore.App, channels []string, data []byte) (answer []byte, err error) {
	if data != nil && message.CheckJSON(data) != nil {
		return nil, message.ErrData()
	}
	fields := map[string]any{"channels": channels, "event": v.r.PostForm.Get("event"), "history": !v.noHistory()}
	if data != nil {
		fields["data"] = json.RawMessage(data)
	}
	body, err := text.JSON(fields)
	if err != nil {
		return nil, err
	}
	batch, err := message.Decode(body)
	if err != nil {
		return nil, err
	}
	receipts, limit, err := v.gateway.Publisher.PublishAll(v.r.Context(), app, batch.Several)
	respond.SetRateLimit(v.w.Header(), limit)
	if err != nil {
		return nil, err
	}
	return message.AnswerAll(nil, receipts), nil
}

// channelLines returns the lines that are not empty. A comma does not separate
// channels: it is a character of their names.
func channelLines(field string) []string {
	var channels []string
	for line := range strings.Lines(strings.ReplaceAll(field, "\r", "\n")) {
		if line = strings.TrimSpace(line); line != "" {
			channels = append(channels, line)
		}
	}
	return channels
}
