package realtime

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

func init() {
	caddy.RegisterModule(new(Admin))
}

// Admin is the module `admin.api.realtime`: apps and keys on Caddy's admin
// endpoint. Its changes are on disk when they are answered, take effect at
// once, and reload nothing.
type Admin struct {
	logger *zap.Logger
	portal *portalServer
}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.realtime", New: func() caddy.Module { return new(Admin) }}
}

// Provision sets the module up. It does not look for the app: a failed reload
// leaves the admin endpoint to a configuration whose apps never ran, so each
// request asks for the one that runs.
func (a *Admin) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger(a)
	var err error
	a.portal, err = newPortalServer(a.logger)
	return err
}

// Routes returns the routes of the admin endpoint. Patterns name no method, as
// the mux would answer a wrong one in plain text.
func (a *Admin) Routes() []caddy.AdminRoute {
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
		{Pattern: "/realtime/{$}", Handler: a.portalPages()},
		{Pattern: "/realtime/app/", Handler: a.portalPages()},
		{Pattern: "/realtime/", Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			apierr.NotFound("There is nothing at %s. The admin API has /realtime/apps, /realtime/keys, /realtime/channels, "+
				"/realtime/connections and /realtime/live; /realtime/openapi.yaml says what each takes.", text.Quote(r.URL.Path)).Write(w)
			return nil
		})},
	}, a.keyRoutes(), a.channelRoutes(), a.connectionRoutes(), a.healthRoutes(), a.documentRoutes())
}

// portalPages serves the portal to whoever the admin endpoint lets in.
func (a *Admin) portalPages() caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		visit := portalVisit{portalServer: a.portal, path: strings.TrimPrefix(r.URL.Path, "/realtime/"), w: w, r: r}
		visit.serve(activeRuntime)
		return nil
	}
}

// adminFunc answers a request, or says why not.
type adminFunc func(*runtime, http.ResponseWriter, *http.Request) error

// appFunc is an adminFunc of the app that the path names.
type appFunc func(*runtime, *keystore.App, http.ResponseWriter, *http.Request) error

// ofApp finds the app.
func ofApp(serve appFunc) adminFunc {
	return func(rt *runtime, w http.ResponseWriter, r *http.Request) error {
		id := r.PathValue("id")
		app, ok := rt.registry.App(id)
		if !ok {
			return errNoSuchApp(id)
		}
		return serve(rt, app, w, r)
	}
}

// readOnly answers a GET, also where no runtime is.
func readOnly(serve http.HandlerFunc) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			apierr.MethodNotAllowed(r.Method, "GET, HEAD").Write(w)
			return nil
		}
		if err := checkQuery(r); err != nil {
			apierr.As(err).Write(w)
			return nil
		}
		serve(w, r)
		return nil
	}
}

// route picks the method's function and answers its errors in our shape.
// parameters are those that the query of a GET may have.
func (a *Admin) route(methods map[string]adminFunc, allow string, parameters ...string) caddy.AdminHandlerFunc {
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
		err := checkQuery(r, known...)
		var rt *runtime
		if err == nil {
			rt, err = activeRuntime()
		}
		if err == nil {
			err = serve(rt, w, r)
		}
		if err == nil {
			return nil
		}
		refusal := apierr.As(err)
		if _, told := errors.AsType[*apierr.Error](err); !told {
			a.logger.Error("admin request failed", zap.String("path", text.MaskKeys(r.URL.Path)), zap.Error(err))
			// Who is here may read the log, and needs the reason.
			refusal.Message = fmt.Sprintf("It failed: %s. The log has it, too.", err)
		}
		refusal.Write(w)
		return nil
	}
}

// activeRuntime finds the runtime of the configuration that runs.
func activeRuntime() (*runtime, error) {
	ctx := caddy.ActiveContext()
	if ctx.Context == nil { // of the first configuration not all apps have started
		return nil, apierr.Unavailable("The server is starting. Try again.", time.Second)
	}
	app, err := ctx.AppIfConfigured("realtime")
	if err != nil {
		return nil, apierr.Unavailable("The running configuration does not use realtime. Add the realtime directive to a site, and reload.", time.Second)
	}
	a := app.(*App)
	select {
	case <-a.started:
		return a.runtime, nil
	default:
		return nil, apierr.Unavailable("The server is starting. Try again.", time.Second)
	}
}

func (rt *runtime) view(app *keystore.App) manage.App {
	v := manage.App{
		ID:             app.ID,
		Name:           app.Name,
		Created:        app.Created,
		Enabled:        !app.Disabled,
		MaxConnections: orNull(int64(app.MaxConnections)),
		MaxChannels:    orNull(int64(app.MaxChannels)),
		MaxBody:        orNull(app.MaxBody),
		AllowedOrigins: append([]string{}, app.AllowedOrigins...),
		Connections:    rt.sockets.count(app.ID),
		Keys:           rt.viewKeys(app),
	}
	if app.Rate != nil {
		v.RateLimit = &manage.Rate{Publishes: app.Rate.Limit}
		if app.Rate.Limit > 0 {
			v.RateLimit.Window = text.ShortDuration(app.Rate.Window)
		}
	}
	return v
}

func (rt *runtime) viewKeys(app *keystore.App) []manage.Key {
	views := make([]manage.Key, 0, len(app.Keys))
	for _, k := range app.Keys {
		views = append(views, rt.viewKey(k))
	}
	return views
}

func (rt *runtime) viewKey(k keystore.Key) manage.Key {
	return manage.Key{
		ID: k.ID, Kind: k.Kind, Label: k.Label, Last4: k.Last4,
		Created: k.Created, Expires: timeOrNull(k.Expires), Revoked: timeOrNull(k.Revoked),
		LastUsed: timeOrNull(rt.registry.LastUsed(k.ID)),
	}
}

// orNull is null for what has not been set.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// createApp answers with the keys' plain text, the only time that it is shown.
func (a *Admin) createApp(rt *runtime, w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Name *string `json:"name"`
	}
	if err := decodeAdmin(w, r, &body); err != nil {
		return err
	}
	if body.Name == nil {
		return apierr.InvalidRequest(`The app needs a name: {"name":"shop"}.`)
	}
	made, err := a.operator(rt, r).createApp(*body.Name)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/realtime/apps/"+made.App.ID)
	respond.JSON(w, http.StatusCreated, manage.CreatedApp{App: rt.view(made.App), PublishKey: made.PublishKey, SubscribeKey: made.SubscribeKey})
	return nil
}

// Pages of a list.
const (
	defaultPage = 100
	maxPage     = 1000
)

// listApps answers a page; next, where it is not null, is the query's "after"
// of the page that follows.
func (a *Admin) listApps(rt *runtime, w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	limit, err := pageLimit(query)
	if err != nil {
		return err
	}
	after := query.Get("after")
	if after != "" && !keystore.IsPlace(after) {
		return errNotAPlace(after)
	}
	apps, next := rt.registry.Apps(after, limit)
	page := struct {
		Apps []manage.App `json:"apps"`
		Next *string      `json:"next"`
	}{make([]manage.App, 0, len(apps)), orNull(next)}
	for _, app := range apps {
		page.Apps = append(page.Apps, rt.view(app))
	}
	respond.JSON(w, http.StatusOK, page)
	return nil
}

func (a *Admin) showApp(rt *runtime, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	rt.answerApp(w, http.StatusOK, app)
	return nil
}

func (a *Admin) deleteApp(rt *runtime, w http.ResponseWriter, r *http.Request) error {
	if err := a.operator(rt, r).deleteApp(r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// operator is who sent the request. The admin endpoint knows no names.
func (a *Admin) operator(rt *runtime, r *http.Request) operator {
	return operator{rt, a.logger, []zap.Field{zap.String("remote", r.RemoteAddr)}}
}

func errNoSuchApp(id string) *apierr.Error {
	return apierr.NotFound("There is no app %s. GET /realtime/apps lists them.", text.Quote(id))
}

// decodeAdmin reads a JSON body strictly.
func decodeAdmin(w http.ResponseWriter, r *http.Request, into any) error {
	if err := checkBodyType(r); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, manage.MaxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		e := apierr.PayloadTooLarge(manage.MaxBody, "more than "+strconv.Itoa(manage.MaxBody))
		e.Message = "The body is larger than " + strconv.Itoa(manage.MaxBody) + " bytes. Send less."
		return e
	}
	if err != nil {
		return apierr.InvalidRequest("The body could not be read: %s.", err)
	}
	return decodeStrict(body, into)
}

// decodeStrict takes exactly one JSON object, with the fields of into only.
func decodeStrict(body []byte, into any) error {
	if err := jsonscan.CheckUTF8(body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return apierr.InvalidJSON("Something follows the JSON object at byte %d. Send one object a request.", d.InputOffset())
		}
		return checkFieldNames(body)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return apierr.InvalidJSON("The body is not JSON at byte %d: %s.", syntax.Offset, syntax)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return apierr.InvalidRequest("%s must be %s, not %s.", cmp.Or(wrong.Field, "The body"), wanted(wrong.Field), article(wrong.Value))
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name, _ := strconv.Unquote(field) // encoding/json quotes as Go does
		return apierr.InvalidRequest("There is no field %s here.", text.Quote(name))
	}
	return apierr.InvalidJSON("The body is not one whole JSON object.")
}

// wanted says what a field of the admin API's bodies takes.
func wanted(field string) string {
	switch field {
	case "":
		return "an object"
	case "enabled":
		return "true or false"
	case "kind":
		return `"publish" or "subscribe"`
	case "overlap":
		return `a duration, "24h"`
	case "window":
		return `a duration, "1m"`
	case "publishes":
		return "a whole number"
	case "allowed_origins":
		return `a list of strings, ["https://app.example.com"]`
	}
	return "a string"
}

// article puts one before a kind of JSON value: "number 1.5", "object".
func article(kind string) string {
	switch {
	case strings.HasPrefix(kind, "number "):
		return "the " + kind
	case kind == "bool":
		return "true or false"
	case kind == "array":
		return "a list"
	case kind == "object":
		return "an object"
	}
	return "a " + kind
}

// checkFieldNames refuses what encoding/json lets through: null for an object,
// a field twice, one in capital letters, and a text with half of a character,
// which it would change. body is JSON, and its fields are
// those of a struct whose names have small letters.
func checkFieldNames(body []byte) error {
	s := jsonscan.Scanner{B: body}
	s.Space()
	if kind := jsonscan.Kind(s.B[s.I]); s.B[s.I] != '{' {
		return apierr.InvalidRequest("It is %s. Send an object.", kind)
	}
	seen := make(map[string]bool)
	for s.Next() {
		name := jsonscan.Unquote(s.Value())
		s.Colon()
		value := s.Value()
		switch {
		case value[0] == '"' && !utf8.ValidString(jsonscan.Unquote(value)):
			return apierr.InvalidRequest("%s has half of a surrogate pair, which is no character. Send the whole character.", text.Quote(name))
		case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "":
			return apierr.InvalidRequest("There is no field %s here. Names are in small letters.", text.Quote(name))
		case seen[name]:
			return apierr.DuplicateField(name)
		}
		seen[name] = true
	}
	return nil
}

// Interface guards
var (
	_ caddy.AdminRouter = (*Admin)(nil)
	_ caddy.Provisioner = (*Admin)(nil)
)
