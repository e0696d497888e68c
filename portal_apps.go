package realtime

import (
	"net/http"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/portal"
)

func (v *portalVisit) showApps() error {
	after := v.r.URL.Query().Get("after")
	if after != "" && !keystore.IsPlace(after) {
		return errNotAPlace(after)
	}
	apps, next := v.rt.registry.Apps(after, defaultPage)
	content := struct {
		Apps []manage.App
		Next string
	}{Next: next}
	for _, app := range apps {
		content.Apps = append(content.Apps, v.rt.view(app))
	}
	view := portal.View{Title: "Apps", Content: content}
	if v.r.URL.Query().Get("done") == "delete" {
		view.Notice = "The app is deleted."
	}
	return v.show(http.StatusOK, portal.AppsPage, view)
}

// createApp shows the new app with its keys, the only time that they are shown.
func (v *portalVisit) createApp() error {
	if err := v.form(); err != nil {
		return err
	}
	var made keystore.Created
	before, err := v.once(func() (id string, err error) {
		if made, err = v.operator().createApp(v.r.PostForm.Get("name")); err == nil {
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
	return v.showIssued(made.App, secret{keystore.Publish, made.PublishKey}, secret{keystore.Subscribe, made.SubscribeKey})
}

// watch streams what happens in an app.
func (v *portalVisit) watch(id string) error {
	app, err := v.app(id)
	if err != nil {
		return err
	}
	return v.rt.serveLive(v.w, v.r, app.ID, v.ending)
}

func (v *portalVisit) app(id string) (*keystore.App, error) {
	app, ok := v.rt.registry.App(id)
	if !ok {
		return nil, apierr.NotFound("There is no app %s. It may have been deleted.", text.Quote(id))
	}
	return app, nil
}
