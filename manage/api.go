package manage

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// An API is the admin API: apps and keys on Caddy's admin endpoint. Its changes
// are on disk when they are answered, take effect at once, and reload nothing.
type API struct {
	// Find finds the gateway of the configuration that runs. Each request asks
	// for it: a failed reload leaves the admin endpoint to a configuration whose
	// apps never ran.
	Find func() (*Gateway, error)

	Logger *zap.Logger
}

// Routes returns the routes of the admin endpoint. Patterns name no method, as
// the mux would answer a wrong one in plain text.
func (a *API) Routes() []caddy.AdminRoute {
	return slices.Concat([]caddy.AdminRoute{
		{Pattern: "/realtime/apps", Handler: a.route(map[string]adminFunc{
			http.MethodGet:  a.listApps,
			http.MethodPost: a.createApp,
		}, "GET, HEAD, POST", "after", "limit")},
		{Pattern: "/realtime/apps/{id}", Handler: a.route(map[string]adminFunc{
			http.MethodGet:    ofApp(a.showApp),
			http.MethodPatch:  a.patchApp,
			http.MethodDelete: a.deleteApp,
		}, "GET, HEAD, PATCH, DELETE")},
		{Pattern: "/realtime/", Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			apierr.NotFound("Nothing exists at %s. The admin API has /realtime/apps, /realtime/keys, /realtime/channels, "+
				"/realtime/connections and /realtime/live; /realtime/openapi.yaml says what each takes.", text.Quote(r.URL.Path)).Write(w)
			return nil
		})},
	}, a.keyRoutes(), a.channelRoutes(), a.connectionRoutes(), a.healthRoutes(), a.documentRoutes())
}

// adminFunc answers a request, or says why not.
type adminFunc func(*Gateway, http.ResponseWriter, *http.Request) error

// appFunc is an adminFunc of the app that the path names.
type appFunc func(*Gateway, *keystore.App, http.ResponseWriter, *http.Request) error

// ofApp finds the app.
func ofApp(serve appFunc) adminFunc {
	return func(g *Gateway, w http.ResponseWriter, r *http.Request) error {
		id := r.PathValue("id")
		app, ok := g.Registry.App(id)
		if !ok {
			return errNoSuchApp(id)
		}
		return serve(g, app, w, r)
	}
}

// readOnly answers a GET, also where no gateway runs.
func readOnly(serve http.HandlerFunc) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			apierr.MethodNotAllowed(r.Method, "GET, HEAD").Write(w)
			return nil
		}
		if err := CheckQuery(r); err != nil {
			apierr.As(err).Write(w)
			return nil
		}
		serve(w, r)
		return nil
	}
}

// route picks the method's function and answers its errors in our shape.
// parameters are those that the query of a GET may have.
func (a *API) route(methods map[string]adminFunc, allow string, parameters ...string) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		serve, ok := methods[method]
		if !ok {
			apierr.MethodNotAllowed(r.Method, allow).Write(w)
			return nil
		}
		known := parameters
		if method != http.MethodGet {
			known = nil
		}
		err := CheckQuery(r, known...)
		var g *Gateway
		if err == nil {
			g, err = a.Find()
		}
		if err == nil {
			err = serve(g, w, r)
		}
		if err == nil {
			return nil
		}
		refusal := apierr.As(err)
		if _, told := errors.AsType[*apierr.Error](err); !told {
			a.Logger.Error("admin request failed", zap.String("path", text.MaskKeys(r.URL.Path)), zap.Error(err))
			// Who is here may read the log, and needs the reason.
			refusal.Message = fmt.Sprintf("It failed: %s. The log has it, too.", err)
		}
		refusal.Write(w)
		return nil
	}
}
