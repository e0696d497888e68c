package realtime

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/portal"
)

func init() {
	caddy.RegisterModule(new(Admin))
}

// Admin is the module `admin.api.realtime`: the admin API and the portal on
// Caddy's admin endpoint.
type Admin struct {
	api    manage.API
	portal *portal.Server
}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.realtime", New: func() caddy.Module { return new(Admin) }}
}

// Provision sets up the module. It does not look up the app, see
// manage.API.Find.
func (a *Admin) Provision(ctx caddy.Context) error {
	logger := ctx.Logger(a)
	a.api = manage.API{Find: activeGateway, Logger: logger}
	var err error
	a.portal, err = newPortal(logger)
	return err
}

// Routes returns the routes of the admin endpoint.
func (a *Admin) Routes() []caddy.AdminRoute {
	return append(a.api.Routes(),
		caddy.AdminRoute{Pattern: "/realtime/{$}", Handler: caddy.AdminHandlerFunc(a.servePortal)},
		caddy.AdminRoute{Pattern: "/realtime/app/", Handler: caddy.AdminHandlerFunc(a.servePortal)})
}

// servePortal serves the portal to everyone the admin endpoint admits.
func (a *Admin) servePortal(w http.ResponseWriter, r *http.Request) error {
	a.portal.Serve(w, r, portal.Visit{Gateway: activeGateway, Path: strings.TrimPrefix(r.URL.Path, "/realtime/")})
	return nil
}

// activeGateway returns the gateway of the running configuration.
func activeGateway() (*manage.Gateway, error) {
	rt, err := activeRuntime()
	if err != nil {
		return nil, err
	}
	return rt.gateway, nil
}

// Interface guards
var (
	_ caddy.AdminRouter = (*Admin)(nil)
	_ caddy.Provisioner = (*Admin)(nil)
)
