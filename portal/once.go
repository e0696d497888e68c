package portal

import (
	"errors"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// once calls makes, which returns the app that the form is about. If the same form
// has been sent before, once does not call it and returns that app instead.
func (v *visit) once(makes func() (app string, err error)) (before string, err error) {
	sent := v.r.PostForm
	id := sent.Get("form")
	if id == "" { // sent by a program, which repeats requests on purpose
		_, err = makes()
		return "", err
	}
	form := strings.Join([]string{id, sent.Get("do"), sent.Get("key"), sent.Get("hook")}, "\x00")
	if before, err = v.gateway.Forms.Begin(id, form); before != "" || err != nil {
		return before, err
	}
	app := ""
	hangs := false
	defer func() {
		if !hangs { // otherwise the form stays reserved: the change can still complete
			v.gateway.Forms.End(form, app)
		}
	}()
	app, err = makes()
	_, hangs = errors.AsType[manage.HangingError](err)
	return "", err
}

// sentAlready redirects to the app of a form that was sent before.
func (v *visit) sentAlready(app string) error {
	return v.redirect(v.root() + "app/" + app + "?done=again")
}
