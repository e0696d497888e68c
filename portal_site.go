package realtime

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
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
	ending chan struct{}    // closed when the HTTP server is about to stop
	placed func() placement // looks at the server's routes once
	opaque limit.Seldom     // the log line of answer
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
	p.ending = make(chan struct{})
	server.RegisterOnShutdown(sync.OnceFunc(func() { close(p.ending) })) // it waits for live views
	p.placed = sync.OnceValue(func() placement { return placementOf(server, p) })
	p.app.placed = append(p.app.placed, p.placed)
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

// ServeHTTP serves the portal to who is authenticated.
func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	path, ours := p.cut(r.URL.Path)
	if !ours { // by the path as it is now, which a rewrite may have changed
		original := originalURL(r)
		if original == nil || original.Path == r.URL.Path {
			return next.ServeHTTP(w, r)
		}
		if path, ours = p.cut(original.Path); !ours || !p.placed().originalCounts {
			return next.ServeHTTP(w, r)
		}
		r = restored(r, original)
	}
	answer(w, r, p.server.logger, &p.opaque, func(w http.ResponseWriter) {
		p.serve(newLeavingWriter(w, r, p.ending), r, path)
	})
	return nil
}

// serve serves the path below the portal's own, which begins with a slash.
func (p *Portal) serve(w http.ResponseWriter, r *http.Request, path string) {
	boundBody(w, r, &p.app.Settings)
	if path == "" {
		prefix, _ := lostPrefix(r)
		home := url.URL{Path: prefix + p.Path + "/"}
		http.Redirect(w, r, home.String(), http.StatusPermanentRedirect)
		return
	}
	path = path[1:]
	visit := portalVisit{portalServer: p.server, path: path, w: w, r: r, ending: p.ending}
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if repl != nil {
		visit.user, _ = repl.GetString("http.auth.user.id")
	}
	if visit.user == "" {
		visit.forbid(p.Path)
		return
	}
	visit.serve(func() (*runtime, error) { return p.app.await(r) })
}

// cut returns what is below the portal's path, with its slash, and reports
// whether a path is the portal's at all. Slashes are merged before the part
// that names a channel, as Caddy's matchers do.
func (p *Portal) cut(path string) (below string, ours bool) {
	for _, path := range []string{path, caddyhttp.CleanPath(path, true)} {
		below, ours = strings.CutPrefix(path, p.Path)
		if ours && (below == "" || below[0] == '/') {
			return below, true
		}
	}
	return "", false
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
