package realtime

import (
	"net/http"
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// appOrigins keeps the parsed allowed origins of apps, as every request from a
// page asks for them. Its zero value is empty; its methods may be called
// concurrently.
type appOrigins struct {
	parsed sync.Map // app id → parsedOrigins
}

type parsedOrigins struct {
	app     *keystore.App // that they were parsed of: a changed app is another one
	origins *origins      // nil if the list cannot be read
}

// check refuses pages that the app does not list.
func (a *appOrigins) check(app *keystore.App, r *http.Request) error {
	if len(app.AllowedOrigins) == 0 || len(r.Header["Origin"]) == 0 {
		return nil
	}
	if o := a.of(app); o == nil || !o.allowed(r) { // a list that cannot be read allows nobody
		return appOriginError(r)
	}
	return nil
}

func (a *appOrigins) of(app *keystore.App) *origins {
	if kept, ok := a.parsed.Load(app.ID); ok && kept.(parsedOrigins).app == app {
		return kept.(parsedOrigins).origins
	}
	o, err := parseOrigins(app.AllowedOrigins)
	if err != nil {
		o = nil
	}
	a.parsed.Store(app.ID, parsedOrigins{app, o})
	return o
}

// forget drops an app that is gone.
func (a *appOrigins) forget(app string) { a.parsed.Delete(app) }
