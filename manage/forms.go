package manage

import (
	"crypto/rand"
	"strings"
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// Forms remembers which forms of the portal have made a key, so that a
// browser that sends one again, as at a reload of the page that it was answered
// with, makes no second one. It holds no key. The zero value is ready for use.
type Forms struct {
	mu    sync.Mutex
	epoch string            // of this process: forms of an earlier one are refused
	made  map[string]string // the form's app, "" while it is being made
	order []string          // the keys of made that have an app, the oldest first
}

// maxForms bounds the forms that are remembered. Each has made an app or a
// key, so nobody but an operator fills it.
const maxForms = 10_000

// ID is a new one, for a page that is about to be shown.
func (f *Forms) ID() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.epoch == "" {
		f.epoch = rand.Text()
	}
	return f.epoch + "." + rand.Text()
}

// Begin reserves a form. It returns the app that the form was about if it has
// made a key before.
func (f *Forms) Begin(id, form string) (app string, err error) {
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

// End ends what Begin began. A form that made nothing may be sent again.
func (f *Forms) End(form, app string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if app == "" {
		delete(f.made, form)
		return
	}
	f.made[form] = app
	f.order = append(f.order, form)
	if len(f.order) > maxForms {
		delete(f.made, f.order[0])
		f.order = f.order[1:]
	}
}
