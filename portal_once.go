package realtime

import (
	"crypto/rand"
	"errors"
	"strings"
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// sentForms remembers which forms of the portal have made a key, so that a
// browser that sends one again, as at a reload of the page that it was answered
// with, makes no second one. It holds no key. The zero value is ready for use.
type sentForms struct {
	mu    sync.Mutex
	epoch string            // of this process: forms of an earlier one are refused
	made  map[string]string // the form's app, "" while it is being made
	order []string          // the keys of made that have an app, the oldest first
}

// maxSentForms bounds the forms that are remembered. Each has made an app or a
// key, so nobody but an operator fills it.
const maxSentForms = 10_000

// id is for a page that is about to be shown.
func (f *sentForms) id() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.epoch == "" {
		f.epoch = rand.Text()
	}
	return f.epoch + "." + rand.Text()
}

// begin reserves a form. It returns the app that the form was about if it has
// made a key before.
func (f *sentForms) begin(id, form string) (app string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	epoch, _, _ := strings.Cut(id, ".")
	if epoch == "" || epoch != f.epoch {
		return "", apierr.InvalidRequest("This page was loaded before the server started, and its form may have been sent already. Open the page again.")
	}
	app, known := f.made[form]
	if known && app == "" {
		return "", apierr.InvalidRequest("This form is being sent already. Open the page again.")
	}
	if !known {
		if f.made == nil {
			f.made = make(map[string]string)
		}
		f.made[form] = ""
	}
	return app, nil
}

// end ends what begin began. A form that made nothing may be sent again.
func (f *sentForms) end(form, app string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if app == "" {
		delete(f.made, form)
		return
	}
	f.made[form] = app
	f.order = append(f.order, form)
	if len(f.order) > maxSentForms {
		delete(f.made, f.order[0])
		f.order = f.order[1:]
	}
}

// once has a form make something, and says for which app, unless it has done so
// before: then it returns that app.
func (v *portalVisit) once(makes func() (app string, err error)) (before string, err error) {
	sent := v.r.PostForm
	id := sent.Get("form")
	if id == "" { // not from one of the pages: a program repeats itself on purpose
		_, err = makes()
		return "", err
	}
	form := strings.Join([]string{id, sent.Get("do"), sent.Get("key")}, "\x00")
	if before, err = v.rt.forms.begin(id, form); before != "" || err != nil {
		return before, err
	}
	app := ""
	hangs := false
	defer func() {
		if !hangs { // else the form stays reserved: it may make something yet
			v.rt.forms.end(form, app)
		}
	}()
	app, err = makes()
	_, hangs = errors.AsType[hangingError](err)
	return "", err
}

// sentAlready shows the app that a form was about when it was sent before.
func (v *portalVisit) sentAlready(app string) error {
	return v.redirect(v.root() + "app/" + app + "?done=again")
}
