package keystore

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
)

// list holds all apps, oldest first.
type list struct {
	mu   sync.RWMutex // guards apps
	apps []*App
}

// order compares apps by age, then by id.
func order(a, b *App) int {
	return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
}

// put adds an app, or replaces its previous version.
func (l *list) put(app *App) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, found := slices.BinarySearchFunc(l.apps, app, order)
	if found {
		l.apps[at] = app
	} else {
		l.apps = slices.Insert(l.apps, at, app)
	}
}

func (l *list) remove(app *App) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, found := slices.BinarySearchFunc(l.apps, app, order); found {
		l.apps = slices.Delete(l.apps, at, at+1)
	}
}

// page implements [Registry.Apps].
func (l *list) page(after string, limit int) (apps []*App, next string) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	from := 0
	if after != "" {
		place, ok := parseCursor(after)
		if !ok {
			return nil, ""
		}
		var found bool
		from, found = slices.BinarySearchFunc(l.apps, place, order)
		if found {
			from++
		}
	}
	to := from + min(max(limit, 1), len(l.apps)-from)
	apps = slices.Clone(l.apps[from:to])
	if to < len(l.apps) {
		next = cursor(l.apps[to-1])
	}
	return apps, next
}

// cursor names an app's place in the order, which stays valid after the app is
// deleted.
func cursor(app *App) string {
	return app.Created.UTC().Format(time.RFC3339Nano) + "," + app.ID
}

// IsPlace reports whether an after argument of [Registry.Apps] names a place in
// the order, even if the app there was deleted.
func IsPlace(after string) bool {
	_, ok := parseCursor(after)
	return ok
}

func parseCursor(s string) (*App, bool) {
	created, id, ok := strings.Cut(s, ",")
	t, err := time.Parse(time.RFC3339Nano, created)
	return &App{Created: t, ID: id}, ok && err == nil && strings.HasPrefix(id, "app_")
}
