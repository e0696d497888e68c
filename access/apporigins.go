package access

import (
	"net/http"
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// AppOrigins caches the parsed allowed origins of apps, because every request
// from a page needs them. Its zero value is empty; its methods can be called
// concurrently.
type AppOrigins struct {
	parsed sync.Map // app id → parsedOrigins
}

type parsedOrigins struct {
	app     *keystore.App // the version that was parsed: a change makes a new App
	origins *Origins      // nil if the list is invalid
}

// Check refuses pages whose origin the app does not list.
func (a *AppOrigins) Check(app *keystore.App, r *http.Request) error {
	if len(app.AllowedOrigins) == 0 || len(r.Header["Origin"]) == 0 {
		return nil
	}
	if o := a.of(app); o == nil || !o.Allows(r) { // an invalid list allows nobody
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

// Forget drops an app that was deleted.
func (a *AppOrigins) Forget(app string) { a.parsed.Delete(app) }
