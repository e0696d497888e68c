// Package realtime turns Caddy into a realtime gateway: backends publish over
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

// App is the Caddy app `realtime`: all process-wide settings. A configuration
// that uses only the directive gets an App with the defaults.
type App struct {
	// KeystoreRaw stores apps and keys. It is a module that implements
	// keystore.Opener. Default: badger, in Caddy's data directory. To keep
	// sockets open across a reload, the new configuration must use the same
	// keystore.
	KeystoreRaw json.RawMessage `json:"keystore,omitempty" caddy:"namespace=realtime.keystores inline_key=type"`

	// BrokerRaw delivers messages to subscribers. It is a module that implements
	// hub.Opener. Default: memory. The same rule applies to a reload.
	BrokerRaw json.RawMessage `json:"broker,omitempty" caddy:"namespace=realtime.brokers inline_key=type"`

	Settings

	// postponed holds settings with placeholders, as JSON by name. Their values
	// are not known before Provision.
	postponed map[string]json.RawMessage

	keystore keystore.Opener
	broker   hub.Opener
	logger   *zap.Logger
	handlers []*Handler              // in this configuration
	placed   []func() site.Placement // for these handlers
	ctx      caddy.Context           // from Provision, for Cleanup
	started  chan struct{}           // closed once runtime is set
	runtime  *runtime                // set while held
	held     bool                    // this app must release its reference to runtime
	events   *eventTarget            // set once all of Caddy's apps have started; guarded by runtime.mu

	addresses site.AddressWarnings // for the HTTP servers

	// hold delays responses of this configuration's HTTP servers while another
	// configuration is running too.
	hold *engineio.Hold

	// running is the runtime of the configuration that this one replaces. It is
	// nil if no configuration uses the same keystore, and after Start.
	running *runtime
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime", New: func() caddy.Module { return new(App) }}
}

// Provision sets up the app. It opens nothing, because `caddy validate` provisions
// next to a running server. During a reload it waits for polling clients: Caddy
// opens the new listeners afterwards.
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
	if err := a.awaitEvents(ctx); err != nil {
		return err
	}
	if err := ctx.GetMetricsRegistry().Register(metrics{a}); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if rt := a.current(); rt != nil {
		a.running = rt
		rt.expect(a)
	}
	return nil
}

// Validate checks the app's configuration.
func (a *App) Validate() error {
	return a.Settings.validate()
}

// Start acquires the runtime of the previous configuration or opens a new one.
func (a *App) Start() error {
	value, _, err := runtimes.LoadOrNew(a.runtimeKey(), func() (caddy.Destructor, error) { return openRuntime(a) })
	if err != nil {
		return err
	}
	a.runtime, a.held, a.running = value.(*runtime), true, nil
	if err := a.runtime.start(a); err != nil {
		return err
	}
	if len(a.handlers) == 0 {
		// The remaining sockets can neither be reached nor reconnect.
		for _, s := range a.runtime.eio.Sessions() {
			s.Close(engineio.ServerShutdown)
		}
	}
	close(a.started)
	site.LogMisplaced(a.logger, a.placed)
	return nil
}

// Stop releases the runtime, after a drain if the process is exiting.
func (a *App) Stop() error {
	if a.held && caddy.Exiting() {
		a.runtime.drain()
	}
	return a.release()
}

// Cleanup releases the runtime where Caddy does not call Stop: after this or
// another app failed to start. For a configuration that was only validated, it
// logs warnings: all routes are not known any earlier.
func (a *App) Cleanup() error {
	select {
	case <-a.started:
	default:
		if len(a.placed) > 0 { // otherwise this could load the HTTP app
			if _, err := a.ctx.AppIfConfigured("http"); err == nil {
				site.LogMisplaced(a.logger, a.placed)
			}
		}
	}
	return a.release()
}

// release releases only what Start acquired: the pool counts references.
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
	a.runtime.useEvents()
	_, err := runtimes.Delete(a.runtimeKey())
	return err
}

// startTimeout bounds how long a request waits for the app: Caddy starts apps in
// no particular order, so the HTTP server can be first.
const startTimeout = 5 * time.Second

// current returns the app's runtime, or nil if there is none yet. During a
// reload, it exists before the app has started. If the reload fails, the app
// never starts, although Caddy's servers may have received requests for it.
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

// await waits for the app's runtime.
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

// Handler is the HTTP handler `http.handlers.realtime`: POST /publish, the Socket.IO
// endpoint and the API of backends of one site. It passes requests for other paths to the next
// handler.
type Handler struct {
	// PublishPath accepts publishes. Default: /publish.
	PublishPath string `json:"publish_path,omitempty"`

	// SocketPath is the Socket.IO endpoint; its trailing slash is optional.
	// Default: /socket.io.
	SocketPath string `json:"socket_path,omitempty"`

	// APIPath is where the API of backends begins, which reads channels and users,
	// for keys with the scope manage. Default: none.
	APIPath string `json:"api_path,omitempty"`

	// DocsPath serves a documentation page for developers who publish and
	// subscribe, with this site's origin, paths and limits. Default: none.
	DocsPath string `json:"docs_path,omitempty"`

	// Origins whose pages can use this site from a browser, as
	// scheme://host[:port]. A host that begins with "*." matches all
	// subdomains. Default: any.
	Origins []string `json:"origins,omitempty"`

	app      *App
	logger   *zap.Logger
	origins  *access.Origins
	docsPage *portal.DocsPage // nil if there is none
	ending   chan struct{}    // closed when the HTTP server shuts down
	server   *caddyhttp.Server
	placed   func() site.Placement // examines the server's routes once
	opaque   limit.Seldom          // limits the log line of site.Answer
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.realtime", New: func() caddy.Module { return new(Handler) }}
}

// Provision sets up the handler.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	if err := h.replace(); err != nil {
		return err
	}
	if err := h.validate(); err != nil { // before the settings are changed below
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
	// A reload lets requests of the old server finish, and an exit waits for
	// them without a timeout: both must end polls.
	server.RegisterOnShutdown(sync.OnceFunc(h.end))
	h.server = server
	h.placed = sync.OnceValue(func() site.Placement { return site.PlacementOf(server, h) })
	h.app.placed = append(h.app.placed, h.placed)
	h.warn(server)
	return nil
}

// warn logs settings that cannot work as configured.
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

// end is called when the HTTP server shuts down. If the process is exiting, polls
// must learn that before they are told to poll again.
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

// ServeHTTP serves the gateway's paths.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	place, exact := h.find(r.URL.Path)
	if place == notOurs { // the current path, which a rewrite may have changed
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

// serve serves the place that a request is for. exact reports whether the path
// is spelled exactly as configured.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, place place, exact bool) {
	if place != publishPlace || !exact { // a publish bounds its body itself
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
	if place == apiPlace {
		h.serveAPI(rt, w, r)
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
		faults:     &rt.faults,
		docs:       h.docsPlace(r),
		logger:     h.logger,
	}.ServeHTTP(w, r)
}

// serveSocket serves the Socket.IO endpoint. A client with a refused origin gets
// as far as its CONNECT, whose answer is the only way to tell it the reason.
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
	if access.IsEarly(r) { // GETs too: they open a session or take its packets
		refusal := apierr.TooEarly()
		rt.refuse("", "connect", refusal)
		h.refuse(w, r, refusal)
		return
	}
	exchange := engineio.Exchange{Ending: h.ending, Hold: h.app.hold}
	switch sid := r.URL.Query().Get("sid"); {
	case rt.nodes.forward(w, r, sid, exchange):
		return
	case sid == "": // the same condition as in engineio
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

// admit lets a visitor open a session, even if only the answer to its CONNECT
// says why it cannot stay. If admit returns nil, the admission counts the visitor.
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

// refuseOrigin logs the configuration line that would allow the origin.
func (h *Handler) refuseOrigin(rt *runtime, w http.ResponseWriter, r *http.Request) {
	access.ReflectOrigin(w.Header(), r)
	rt.refused.Log(h.logger, h.origins, r)
}

// newVisitor keeps the parts of the request that a later CONNECT needs. It copies
// strings that would keep the whole request in memory, and clips those that an
// unauthenticated client could make long.
func (h *Handler) newVisitor(r *http.Request, allowed bool) *visitor {
	v := &visitor{site: h.docsPlace(r), endpoint: h.endpoint(r)}
	v.site.host = clip(r.Host)
	v.ip = site.ClientIP(r)
	if origin := r.Header["Origin"]; len(origin) > 0 {
		v.origin = http.Header{"Origin": {clip(origin[0])}}
	}
	if !allowed {
		v.refusal = access.SiteOriginError(r)
	} else if _, err := access.OnlyHeader(r, "Origin"); err != nil { // an app's list would check only the first
		v.refusal = apierr.As(err)
	}
	v.query, v.keyInQuery = access.QueryCredential(r.URL.RawQuery)
	return v
}

// clip copies a Host or an Origin. It truncates values longer than any hostname;
// a truncated value equals no allowed origin.
func clip(s string) string {
	const longest = 300 // a name of 253 characters, https:// and a port
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
