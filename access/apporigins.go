package access

import (
	"net/http"
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// AppOrigins keeps the parsed allowed origins of apps, as every request from a
// page asks for them. Its zero value is empty; its methods may be called
// concurrently.
type AppOrigins struct {
	parsed sync.Map // app id → parsedOrigins
}

type parsedOrigins struct {
	app     *keystore.App // that they were parsed of: a changed app is another one
	origins *Origins      // nil if the list cannot be read
}

// Check refuses pages that the app does not list.
func (a *AppOrigins) Check(app *keystore.App, r *http.Request) error {
	if len(app.AllowedOrigins) == 0 || len(r.Header["Origin"]) == 0 {
		return nil
	}
	if o := a.of(app); o == nil || !o.Allows(r) { // a list that cannot be read allows nobody
		return appOriginError(r)
	}
	return nil
}

func (a *AppOrigins) of(app *keystore.App) *Origins {
	if kept, ok := a.parsed.Load(app.ID); ok && kept.(parsedOrigins).app == app {
		return kept.(parsedOrigins).origins
	}
	o, err := ParseOrigins(app.AllowedOrigins)
	if err != nil {
		o = nil
	}
	a.parsed.Store(app.ID, parsedOrigins{app, o})
	return o
}

// Forget drops an app that is gone.
func (a *AppOrigins) Forget(app string) { a.parsed.Delete(app) }
