package realtime

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
	"github.com/seed-c079cc48/caddy-realtime/internal/site"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/portal"
)

func init() {
	caddy.RegisterModule(new(Portal))
}

// Portal is the HTTP handler `http.handlers.realtime_portal`: the portal on a
// site, for teams. It serves only authenticated users: basic_auth, or any other
// handler that sets the placeholder {http.auth.user.id}, must run before it.
// Every authenticated user fully controls all apps. It passes requests for other
// paths to the next handler.
type Portal struct {
	// Path serves the portal. Default: /realtime.
	Path string `json:"path,omitempty"`

	app    *App
	server *portal.Server
	logger *zap.Logger
	ending chan struct{}         // closed when the HTTP server shuts down
	placed func() site.Placement // examines the server's routes once
	opaque limit.Seldom          // limits the log line of site.Answer
}

const defaultPortalPath = "/realtime"

// CaddyModule returns the Caddy module information.
func (*Portal) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.realtime_portal", New: func() caddy.Module { return new(Portal) }}
}

// Provision sets up the handler.
func (p *Portal) Provision(ctx caddy.Context) error {
	if err := p.setPath(); err != nil {
		return err
	}
	p.logger = ctx.Logger()
	var err error
	if p.server, err = newPortal(p.logger); err != nil {
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
	server.RegisterOnShutdown(sync.OnceFunc(func() { close(p.ending) })) // the server waits for live views
	p.placed = sync.OnceValue(func() site.Placement { return site.PlacementOf(server, p) })
	p.app.placed = append(p.app.placed, p.placed)
	return nil
}

// setPath normalizes the configured path.
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

// ServeHTTP serves the portal to authenticated users.
func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	path, ours := p.cut(r.URL.Path)
	if !ours { // the current path, which a rewrite may have changed
		original := site.OriginalURL(r)
		if original == nil || original.Path == r.URL.Path {
			return next.ServeHTTP(w, r)
		}
		if path, ours = p.cut(original.Path); !ours || !p.placed().OriginalCounts {
			return next.ServeHTTP(w, r)
		}
		r = site.Restored(r, original)
	}
	site.Answer(w, r, p.logger, &p.opaque, func(w http.ResponseWriter) {
		p.serve(site.Leaving(w, r, p.ending), r, path)
	})
	return nil
}

// serve serves a path below the portal's own. path begins with a slash.
func (p *Portal) serve(w http.ResponseWriter, r *http.Request, path string) {
	site.BoundBody(w, r, time.Duration(p.app.BodyTimeout))
	if path == "" {
		prefix, _ := site.LostPrefix(r)
		home := url.URL{Path: prefix + p.Path + "/"}
		http.Redirect(w, r, home.String(), http.StatusPermanentRedirect)
		return
	}
	visit := portal.Visit{Gateway: func() (*manage.Gateway, error) { return p.app.awaitGateway(r) }, Path: path[1:], Ending: p.ending}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		visit.User, _ = repl.GetString("http.auth.user.id")
	}
	if visit.User == "" {
		p.server.Forbid(w, r, visit, p.Path)
		return
	}
	p.server.Serve(w, r, visit)
}

// newPortal returns a server of the portal's pages.
func newPortal(logger *zap.Logger) (*portal.Server, error) {
	return portal.NewServer(portal.Config{Logger: logger, Sites: portalSites, Refuse: site.Refuse})
}

// portalSites returns the sites of the running configuration, for snippets.
func portalSites() []portal.Site {
	var sites []portal.Site
	for _, s := range site.ServedSites() {
		if s.SocketPath == defaultSocketPath {
			s.SocketPath = "" // the stock client's default
		}
		sites = append(sites, portal.Site(s))
	}
	if len(sites) == 0 {
		sites = append(sites, portal.Site{Origin: unknownOrigin, PublishPath: defaultPublishPath})
	}
	return sites
}

// cut returns the rest of a path below the portal's, with its slash, and reports
// whether the path belongs to the portal. Like Caddy's matchers, it merges slashes,
// but only before the part that names a channel.
func (p *Portal) cut(path string) (below string, ours bool) {
	for _, path := range []string{path, caddyhttp.CleanPath(path, true)} {
		below, ours = strings.CutPrefix(path, p.Path)
		if ours && (below == "" || below[0] == '/') {
			return below, true
		}
	}
	return "", false
}

// Directive implements site.Placed.
func (p *Portal) Directive() string { return "realtime_portal" }

// Trials implements site.Placed.
func (p *Portal) Trials() []site.Trial {
	return []site.Trial{{Method: http.MethodGet, Path: p.Path + "/"}}
}

// Owns implements site.Placed.
func (p *Portal) Owns(path string) bool { _, ours := p.cut(path); return ours }

// OwnsTree implements site.Placed.
func (p *Portal) OwnsTree() bool { return true }

// Patterns implements site.Placed.
func (p *Portal) Patterns() []string { return []string{p.Path + "*"} }

// LinesBelow implements site.Placed.
func (p *Portal) LinesBelow(prefix string) string {
	return "realtime_portal {\n\tpath " + prefix + defaultPortalPath + "\n}"
}

func parsePortalDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	portal := new(Portal)
	return portal, portal.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from the directive. Syntax, with the
// default value:
//
//	realtime_portal [<matcher>] {
//		path /realtime
//	}
//
// The site must also authenticate users, for example: basic_auth /realtime* { … }.
func (p *Portal) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	return eachSetting(d, func(name string, args []string) (err error) {
		if name != "path" {
			return errors.New("unknown setting " + name + " of the directive realtime_portal; the only setting is path")
		}
		p.Path, err = pathArg(name, args, defaultPortalPath)
		return err
	}, nil)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Portal)(nil)
	_ caddyhttp.MiddlewareHandler = (*Portal)(nil)
	_ caddyfile.Unmarshaler       = (*Portal)(nil)
	_ site.Placed                 = (*Portal)(nil)
)
