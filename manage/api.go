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

// An API is the admin API: it manages apps and keys on Caddy's admin endpoint. A
// change is on disk and in effect when it is answered. No change needs a reload.
type API struct {
	// Find returns the gateway of the running configuration. It is called for
	// each request: a failed reload leaves the admin endpoint to a configuration
	// whose apps never started.
	Find func() (*Gateway, error)

	Logger *zap.Logger
}

// Routes returns the routes of the admin endpoint. Their patterns have no method,
// because the mux answers a wrong method in plain text.
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
			apierr.NotFound("Nothing exists at %s. The admin API has /realtime/apps, /realtime/keys, /realtime/tokens, /realtime/webhooks, "+
				"/realtime/channels, /realtime/users, /realtime/connections, /realtime/live and /realtime/machines; /realtime/openapi.yaml says what each takes.", text.Quote(r.URL.Path)).Write(w)
			return nil
		})},
	}, a.keyRoutes(), a.tokenRoutes(), a.hookRoutes(), a.backendRoutes(), a.connectionRoutes(), a.machineRoutes(), a.healthRoutes(), a.documentRoutes())
}

// adminFunc answers a request or returns an error.
type adminFunc func(*Gateway, http.ResponseWriter, *http.Request) error

// appFunc is an adminFunc for the app in the path.
type appFunc func(*Gateway, *keystore.App, http.ResponseWriter, *http.Request) error

// ofApp calls serve with the app in the path.
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

// readOnly answers GET requests, even if no gateway is running.
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

// route selects the function for the method, and answers its errors as JSON.
// parameters lists the query parameters that a GET can have.
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
		if err := CheckQuery(r, known...); err != nil {
			apierr.As(err).Write(w)
			return nil
		}
		return a.answered(serve)(w, r)
	}
}

// answered answers the function's errors as JSON.
func (a *API) answered(serve adminFunc) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		g, err := a.Find()
		if err == nil {
			err = serve(g, w, r)
		}
		if err == nil {
			return nil
		}
		if _, told := errors.AsType[*apierr.Error](err); !told {
			a.Logger.Error("admin request failed", zap.String("path", text.MaskKeys(r.URL.Path)), zap.Error(err))
		}
		Explain(err).Write(w)
		return nil
	}
}

// Explain is [apierr.As] for operators. They control everything, and need the reason of
// what has failed.
func Explain(err error) *apierr.Error {
	refusal := apierr.As(err)
	if _, told := errors.AsType[*apierr.Error](err); !told {
		refusal.Message = fmt.Sprintf("It failed: %s. The log has it, too.", err)
	}
	return refusal
}
