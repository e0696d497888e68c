package portal

import (
	"errors"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// once has a form make something, and says for which app, unless it has done so
// before: then it returns that app.
func (v *visit) once(makes func() (app string, err error)) (before string, err error) {
	sent := v.r.PostForm
	id := sent.Get("form")
	if id == "" { // not from one of the pages: a program repeats itself on purpose
		_, err = makes()
		return "", err
	}
	form := strings.Join([]string{id, sent.Get("do"), sent.Get("key")}, "\x00")
	if before, err = v.gateway.Forms.Begin(id, form); before != "" || err != nil {
		return before, err
	}
	app := ""
	hangs := false
	defer func() {
		if !hangs { // else the form stays reserved: it may make something yet
			v.gateway.Forms.End(form, app)
		}
	}()
	app, err = makes()
	_, hangs = errors.AsType[manage.HangingError](err)
	return "", err
}

// sentAlready shows the app that a form was about when it was sent before.
func (v *visit) sentAlready(app string) error {
	return v.redirect(v.root() + "app/" + app + "?done=again")
}
