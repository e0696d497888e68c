package portal

import (
	"net/http"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

func (v *visit) showApps() error {
	after := v.r.URL.Query().Get("after")
	if after != "" && !keystore.IsPlace(after) {
		return manage.NotAPlace(after)
	}
	apps, next := v.gateway.Registry.Apps(after, manage.DefaultPage)
	content := struct {
		Apps []manage.App
		Next string
	}{Next: next}
	for _, app := range apps {
		content.Apps = append(content.Apps, v.gateway.View(app))
	}
	view := pageView{Title: "Apps", Content: content}
	if v.r.URL.Query().Get("done") == "delete" {
		view.Notice = "The app is deleted."
	}
	return v.show(http.StatusOK, appsTemplate, view)
}

// createApp shows the new app with its keys, which are never shown again.
func (v *visit) createApp() error {
	if err := v.form(); err != nil {
		return err
	}
	var made keystore.Created
	before, err := v.once(func() (id string, err error) {
		if made, err = v.operator().CreateApp(v.r.PostForm.Get("name")); err == nil {
			id = made.App.ID
		}
		return id, err
	})
	switch {
	case err != nil:
		return err
	case before != "":
		return v.sentAlready(before)
	}
	return v.showIssued(made.App, secret{Kind: keystore.Publish, Key: made.PublishKey}, secret{Kind: keystore.Subscribe, Key: made.SubscribeKey})
}

// watch streams an app's events.
func (v *visit) watch(id string) error {
	app, err := v.app(id)
	if err != nil {
		return err
	}
	return v.gateway.ServeLive(v.w, v.r, app.ID, v.ending)
}

func (v *visit) app(id string) (*keystore.App, error) {
	app, ok := v.gateway.Registry.App(id)
	if !ok {
		return nil, apierr.NotFound("No app %s exists. It may have been deleted.", text.Quote(id))
	}
	return app, nil
}
