// Package realtime makes any Caddy a realtime gateway: backends publish over
// HTTP, browsers and apps subscribe with the stock socket.io-client.
//
//	example.com {
//		realtime
//		reverse_proxy app:8080
//	}
package realtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/access"
	_ "github.com/seed-c079cc48/caddy-realtime/command" // caddy realtime …
	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
	"github.com/seed-c079cc48/caddy-realtime/internal/site"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/portal"
)

func init() {
	caddy.RegisterModule(new(App))
	caddy.RegisterModule(new(Handler))
}

// App is the Caddy app `realtime`: everything that is process-wide. A
// configuration that only uses the directive gets one with the defaults.
type App struct {
	// KeystoreRaw is where apps and keys are kept, a module that is a
	// keystore.Opener. Default: badger, in Caddy's data directory. What it names
	// must not change at a reload while sockets are to stay open.
	KeystoreRaw json.RawMessage `json:"keystore,omitempty" caddy:"namespace=realtime.keystores inline_key=type"`

	// BrokerRaw takes messages to their subscribers, a module that is a
	// hub.Opener. Default: memory. It must not change either.
	BrokerRaw json.RawMessage `json:"broker,omitempty" caddy:"namespace=realtime.brokers inline_key=type"`

	Settings

	// postponed are settings with placeholders, as JSON by their names: their
	// values are not known before Provision.
	postponed map[string]json.RawMessage

	keystore keystore.Opener
	broker   hub.Opener
	logger   *zap.Logger
	handlers []*Handler              // those of the configuration
	placed   []func() site.Placement // of the configuration's handlers
	ctx      caddy.Context           // of Provision, for Cleanup
	started  chan struct{}           // closed once runtime is set
	runtime  *runtime                // set while held
	held     bool                    // the runtime's reference is this app's to give back

	addresses site.AddressWarnings // about the HTTP servers

	// hold has answers of its HTTP servers wait while there is another
	// configuration beside this one.
	hold *engineio.Hold

	// running is the runtime of the configuration that this one is to replace,
	// nil if there is none on the same keystore, and once this one has started.
	running *runtime
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime", New: func() caddy.Module { return new(App) }}
}

// Provision sets the app up. It opens nothing: `caddy validate` provisions
// beside a running server. At a reload it waits for polling clients, as Caddy
// opens the new listeners after it.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.started, a.hold = make(chan struct{}), new(engineio.Hold)
	if err := a.replace(); err != nil {
		return err
	}
	a.setDefaults()
	var err error
	if a.keystore, err = loadGuest[keystore.Opener](ctx, a, "keystore", keystores, "KeystoreRaw", &a.KeystoreRaw, "badger"); err != nil {
		return err
	}
	if a.broker, err = loadGuest[hub.Opener](ctx, a, "broker", brokers, "BrokerRaw", &a.BrokerRaw, "memory"); err != nil {
		return err
	}
	if err := ctx.GetMetricsRegistry().Register(metrics{a}); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if rt, err := activeRuntime(); err == nil && rt.key == a.runtimeKey() {
		a.running = rt
		rt.expect(a)
	}
	return nil
}

// Validate checks the app's configuration.
func (a *App) Validate() error {
	return a.Settings.validate()
}

// Start takes the runtime that earlier configurations used, or opens it.
func (a *App) Start() error {
	value, _, err := runtimes.LoadOrNew(a.runtimeKey(), func() (caddy.Destructor, error) { return openRuntime(a) })
	if err != nil {
		return err
	}
	a.runtime, a.held, a.running = value.(*runtime), true, nil
	a.runtime.start(a)
	if len(a.handlers) == 0 {
		// Nobody could reach the sockets that are left, nor could they come
		// back.
		for _, s := range a.runtime.eio.Sessions() {
			s.Close(engineio.ServerShutdown)
		}
	}
	close(a.started)
	site.LogMisplaced(a.logger, a.placed)
	return nil
}

// Stop gives the runtime back, after a drain if the process is about to end.
func (a *App) Stop() error {
	if a.held && caddy.Exiting() {
		a.runtime.drain()
	}
	return a.release()
}

// Cleanup gives the runtime back where Stop is not called: after a failed
// Start of this or another app. A configuration that was only validated is
// warned about here: no sooner are all routes there.
func (a *App) Cleanup() error {
	select {
	case <-a.started:
	default:
		if len(a.placed) > 0 { // else asking for the HTTP app could load it
			if _, err := a.ctx.AppIfConfigured("http"); err == nil {
				site.LogMisplaced(a.logger, a.placed)
			}
		}
	}
	return a.release()
}

// release gives back what Start took, and nothing else: the pool counts.
func (a *App) release() error {
	if a.running != nil {
		a.running.forget(a)
		a.running = nil
	}
	if !a.held {
		return nil
	}
	a.held = false
	a.runtime.stop(a)
	_, err := runtimes.Delete(a.runtimeKey())
	return err
}

// startTimeout bounds how long a request waits for the app: Caddy starts its
// apps in no order, so the HTTP server may be first.
const startTimeout = 5 * time.Second

// current returns the app's runtime, nil if there is none yet. At a reload it is
// there before the app has started, and at one that fails the app never does,
// though Caddy's servers may have got requests for it.
func (a *App) current() *runtime {
	select {
	case <-a.started:
		return a.runtime
	default:
	}
	if rt, err := activeRuntime(); err == nil && rt.key == a.runtimeKey() {
		return rt
	}
	return nil
}

// await returns the runtime once there is one.
func (a *App) await(r *http.Request) (*runtime, error) {
	if rt := a.current(); rt != nil {
		return rt, nil
	}
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-a.started:
		return a.runtime, nil
	case <-timeout.C:
	case <-r.Context().Done():
	}
	return nil, apierr.Unavailable("The server is starting. Try again.", time.Second)
}

func (a *App) awaitGateway(r *http.Request) (*manage.Gateway, error) {
	rt, err := a.await(r)
	if err != nil {
		return nil, err
	}
	return rt.gateway, nil
}

// Handler is the HTTP handler `http.handlers.realtime`: POST /publish and the
// Socket.IO endpoint of one site. A path that is not its own goes to the next
// handler.
type Handler struct {
	// PublishPath takes publishes. Default: /publish.
	PublishPath string `json:"publish_path,omitempty"`

	// SocketPath is the Socket.IO endpoint; its trailing slash is optional.
	// Default: /socket.io.
	SocketPath string `json:"socket_path,omitempty"`

	// DocsPath is where the documentation page is, for developers who publish
	// and subscribe: with this site's origin, paths and limits. Default: none.
	DocsPath string `json:"docs_path,omitempty"`

	// Origins whose pages may use this site from a browser, as
	// scheme://host[:port]; a host may begin with "*." for all its
	// subdomains. Default: any.
	Origins []string `json:"origins,omitempty"`

	app      *App
	logger   *zap.Logger
	origins  *access.Origins
	docsPage *portal.DocsPage // nil if there is none
	ending   chan struct{}    // closed when the HTTP server is about to stop
	server   *caddyhttp.Server
	placed   func() site.Placement // looks at the server's routes once
	opaque   limit.Seldom          // the log line of site.Answer
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.realtime", New: func() caddy.Module { return new(Handler) }}
}

// Provision sets the handler up.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	if err := h.replace(); err != nil {
		return err
	}
	if err := h.validate(); err != nil { // of what was written, before it is changed below
		return err
	}
	orDefault(&h.PublishPath, defaultPublishPath)
	orDefault(&h.SocketPath, defaultSocketPath)
	h.SocketPath = strings.TrimSuffix(h.SocketPath, "/")
	var err error
	if h.DocsPath != "" {
		h.DocsPath = strings.TrimSuffix(h.DocsPath, "/")
		if h.docsPage, err = portal.NewDocsPage(); err != nil {
			return fmt.Errorf("documentation page: %w", err)
		}
	}
	if h.origins, err = access.ParseOrigins(h.Origins); err != nil {
		return err
	}
	app, err := ctx.App("realtime")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	h.app.handlers = append(h.app.handlers, h)
	h.ending = make(chan struct{})
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return errors.New("realtime works in an HTTP server only")
	}
	// A reload lets the requests of the old server finish, and an exit waits
	// for them for ever: polls must hear of both.
	server.RegisterOnShutdown(sync.OnceFunc(h.end))
	h.server = server
	h.placed = sync.OnceValue(func() site.Placement { return site.PlacementOf(server, h) })
	h.app.placed = append(h.app.placed, h.placed)
	h.warn(server)
	return nil
}

// warn tells of what is configured and will not work.
func (h *Handler) warn(server *caddyhttp.Server) {
	h.app.addresses.Check(h.logger, server)
	if timeout, interval := server.WriteTimeout, h.app.PingInterval; timeout > 0 && timeout < interval {
		h.logger.Warn("the server's write timeout cuts off long-polls; make it longer than ping_interval, or remove it",
			zap.Duration("write_timeout", time.Duration(timeout)), zap.Duration("ping_interval", time.Duration(interval)))
	}
	if strings.Contains(os.Getenv("GODEBUG"), "http2xconnect=1") {
		h.logger.Warn("GODEBUG has http2xconnect=1: browsers then ask for websockets over HTTP/2, which are not served, and do not fall back; only polling works for them")
	}
}

// end is called when the HTTP server is about to stop. If the process is too,
// polls hear of that before they hear that they are to come again.
func (h *Handler) end() {
	if caddy.Exiting() {
		select {
		case <-h.app.started:
			h.app.runtime.beginDrain() // App.Stop waits for it
		default:
		}
	}
	close(h.ending)
}

// ServeHTTP serves the gateway's own paths.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	place, exact := h.find(r.URL.Path)
	if place == notOurs { // by the path as it is now, which a rewrite may have changed
		original := site.OriginalURL(r)
		if original == nil || original.Path == r.URL.Path {
			return next.ServeHTTP(w, r)
		}
		if place, exact = h.find(original.Path); place == notOurs || !h.placed().OriginalCounts {
			return next.ServeHTTP(w, r)
		}
		r = site.Restored(r, original)
	}
	site.Answer(w, r, h.logger, &h.opaque, func(w http.ResponseWriter) {
		h.serve(site.Leaving(w, r, h.ending), r, place, exact)
	})
	return nil
}

// serve serves the place that a request is for; exact says that its path is the
// place's own.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, place place, exact bool) {
	if place != publishPlace || !exact { // which bounds its bodies itself
		site.BoundBody(w, r, time.Duration(h.app.BodyTimeout))
	}
	switch {
	case !exact:
		h.redirect(w, r, place)
		return
	case place == docsPagePlace:
		h.serveDocs(w, r)
		return
	}
	rt, err := h.app.await(r)
	if err != nil {
		site.BoundBody(w, r, time.Duration(h.app.BodyTimeout))
		h.refuse(w, r, err)
		return
	}
	if place == socketPlace {
		h.serveSocket(rt, w, r)
		return
	}
	publishEndpoint{
		registry:   rt.registry,
		publisher:  &rt.publisher,
		settings:   &h.app.Settings,
		origins:    h.origins,
		appOrigins: &rt.appOrigins,
		refused:    &rt.refused,
		live:       &rt.live,
		failed:     &rt.failed,
		arrived:    &rt.arrived,
		docs:       h.docsPlace(r),
		logger:     h.logger,
	}.ServeHTTP(w, r)
}

// serveSocket serves the Socket.IO endpoint. A refused origin gets as far as
// its CONNECT: only there can the client be told why.
func (h *Handler) serveSocket(rt *runtime, w http.ResponseWriter, r *http.Request) {
	allowed := h.origins.Allows(r)
	if allowed {
		h.origins.SetCORS(w.Header(), r)
	} else {
		h.refuseOrigin(rt, w, r)
	}
	if r.Method == http.MethodOptions {
		access.AnswerSocketPreflight(w, r)
		return
	}
	if access.IsEarly(r) { // also a GET: it opens a session, or takes what waits for one
		refusal := apierr.TooEarly()
		rt.refuse("", "connect", refusal)
		h.refuse(w, r, refusal)
		return
	}
	exchange := engineio.Exchange{Ending: h.ending, Hold: h.app.hold}
	if r.URL.Query().Get("sid") == "" { // as engineio asks
		v := h.newVisitor(r, allowed)
		if refusal := rt.admit(v); refusal != nil {
			rt.refuse("", "connect", refusal)
			h.refuse(w, r, refusal)
			return
		}
		defer func() {
			if !v.opened {
				rt.admission.Leave(v.ip, v.over)
			}
		}()
		exchange.Data = v
	}
	rt.eio.Serve(w, r, exchange)
}

// admit lets a visitor open a session, if only to be told in the answer to its
// CONNECT why it may not stay. Who is not refused has entered.
func (rt *runtime) admit(v *visitor) *apierr.Error {
	if rt.draining.Load() {
		return apierr.Unavailable("The server is shutting down. Reconnect.", time.Second)
	}
	settings := rt.settings()
	limits := settings.connectionLimits()
	over, refusal := rt.admission.Enter(v.ip, limits)
	told := refusal
	if over {
		told = apierr.CrowdedAddress(settings.MaxConnectionsPerIP)
		v.over, v.refusal = true, told
	}
	if told != nil {
		rt.admission.Log(rt.log, told, v.ip, limits)
	}
	return refusal
}

// refuseOrigin tells the log which line would let the origin in.
func (h *Handler) refuseOrigin(rt *runtime, w http.ResponseWriter, r *http.Request) {
	access.ReflectOrigin(w.Header(), r)
	rt.refused.Log(h.logger, h.origins, r)
}

// newVisitor keeps what a CONNECT needs of the request that opens its session.
// Strings are copied where they would keep the whole request alive, and clipped
// where an unauthenticated client could make them long.
func (h *Handler) newVisitor(r *http.Request, allowed bool) *visitor {
	v := &visitor{site: h.docsPlace(r), endpoint: h.endpoint(r)}
	v.site.host = clip(r.Host)
	v.ip = site.ClientIP(r)
	if origin := r.Header["Origin"]; len(origin) > 0 {
		v.origin = http.Header{"Origin": {clip(origin[0])}}
	}
	if !allowed {
		v.refusal = access.SiteOriginError(r)
	} else if _, err := access.OnlyHeader(r, "Origin"); err != nil { // an app's list would see the first only
		v.refusal = apierr.As(err)
	}
	v.query, v.keyInQuery = access.QueryCredential(r.URL.RawQuery)
	return v
}

// clip copies a Host or an Origin. One that is longer than any host's name loses
// its end, and then equals nothing that is allowed.
func clip(s string) string {
	const longest = 300 // https:// and a port beside the 253 characters of a name
	if len(s) > longest {
		return strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return strings.Clone(s)
}

// Interface guards
var (
	_ caddy.App                   = (*App)(nil)
	_ caddy.Provisioner           = (*App)(nil)
	_ caddy.Validator             = (*App)(nil)
	_ caddy.CleanerUpper          = (*App)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
