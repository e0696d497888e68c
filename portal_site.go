package realtime

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(new(Portal))
}

// Portal is the HTTP handler `http.handlers.realtime_portal`: the portal on a
// site, for teams. It answers only who is authenticated, as by basic_auth or
// any other handler that sets the placeholder {http.auth.user.id}: whoever
// gets in may do everything with all apps. A path that is not its own goes to
// the next handler.
type Portal struct {
	// Path is where the portal is. Default: /realtime.
	Path string `json:"path,omitempty"`

	app    *App
	server *portalServer
}

const defaultPortalPath = "/realtime"

// CaddyModule returns the Caddy module information.
func (*Portal) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.realtime_portal", New: func() caddy.Module { return new(Portal) }}
}

// Provision sets the handler up.
func (p *Portal) Provision(ctx caddy.Context) error {
	if err := p.setPath(); err != nil {
		return err
	}
	var err error
	if p.server, err = newPortalServer(ctx.Logger()); err != nil {
		return err
	}
	app, err := ctx.App("realtime")
	if err != nil {
		return err
	}
	p.app = app.(*App)
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return errors.New("realtime_portal works in an HTTP server only")
	}
	server.RegisterOnShutdown(p.end)
	return nil
}

// setPath makes the path that was written the one to serve.
func (p *Portal) setPath() (err error) {
	if p.Path, err = replaceSetting("path", p.Path); err != nil {
		return err
	}
	if p.Path != "" {
		if err := checkPath("path", p.Path); err != nil {
			return err
		}
	}
	orDefault(&p.Path, defaultPortalPath)
	p.Path = strings.TrimSuffix(p.Path, "/")
	return nil
}

// end has those who watch go, as the HTTP server waits for them.
func (p *Portal) end() {
	select {
	case <-p.app.started:
		p.app.runtime.live.End()
	default:
	}
}

// ServeHTTP serves the portal to who is authenticated.
func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	path, below := strings.CutPrefix(r.URL.Path, p.Path+"/")
	switch {
	case r.URL.Path == p.Path:
		http.Redirect(w, r, p.Path+"/", http.StatusPermanentRedirect)
		return nil
	case !below:
		return next.ServeHTTP(w, r)
	}
	visit := portalVisit{portalServer: p.server, path: path, w: w, r: r}
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if repl != nil {
		visit.user, _ = repl.GetString("http.auth.user.id")
	}
	if visit.user == "" {
		visit.forbid(p.Path)
		return nil
	}
	visit.serve(func() (*runtime, error) { return p.app.await(r) })
	return nil
}

func parsePortalDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	portal := new(Portal)
	return portal, portal.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from the directive. Syntax, with the
// default as value:
//
//	realtime_portal [<matcher>] {
//		path /realtime
//	}
//
// Put what authenticates users into the site, too: basic_auth /realtime* { … }.
func (p *Portal) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	return eachSetting(d, func(name string, args []string) (err error) {
		if name != "path" {
			return errors.New("unknown setting " + name + " of the directive realtime_portal; there is: path")
		}
		p.Path, err = pathArg(name, args, defaultPortalPath)
		return err
	})
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Portal)(nil)
	_ caddyhttp.MiddlewareHandler = (*Portal)(nil)
	_ caddyfile.Unmarshaler       = (*Portal)(nil)
)
