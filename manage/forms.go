package manage

import (
	"crypto/rand"
	"strings"
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// Forms remembers which of the portal's forms have made a key, so that a form that
// a browser sends again, for example on a page reload, does not make another. It
// does not hold the keys. The zero value is ready to use.
type Forms struct {
	mu    sync.Mutex
	epoch string            // of this process; forms of an earlier process are refused
	made  map[string]string // app ID by form, "" while the request is in progress
	order []string          // completed forms, oldest first
}

// maxForms bounds the remembered forms. Each has made an app or a key, so only
// operators can fill it.
const maxForms = 10_000

// ID returns a new form ID, for a page that is about to be shown.
func (f *Forms) ID() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.epoch == "" {
		f.epoch = rand.Text()
	}
	return f.epoch + "." + rand.Text()
}

// Begin reserves a form. If the form has already made a key, Begin returns the
// form's app.
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

// End completes a form. A form that made nothing can be sent again.
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
