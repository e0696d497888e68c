package portal

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// A Server serves the portal. Its user decides who can use it and at which path:
//
//	GET  (root)          lists the apps
//	POST app/            makes an app
//	GET  app/{id}        shows an app
//	POST app/{id}        changes it; the form's "do" names the action
//	GET  app/{id}/live   streams its events
//	GET  app/{id}/webhooks, app/{id}/users, app/{id}/members
//	POST app/{id}/webhooks, app/{id}/users  change them likewise
type Server struct {
	pages   *pages
	config  Config
	forgery *http.CrossOriginProtection // rejects forms and scripts from other origins
}

// A Config configures a Server. All fields are required.
type Config struct {
	Logger *zap.Logger

	// Sites returns the sites of the running configuration that serve clients.
	// There is at least one.
	Sites func() []Site

	// Refuse answers a request of the page's script with an error.
	Refuse func(http.ResponseWriter, *http.Request, *apierr.Error)
}

// A Site is a site that serves clients, for snippets.
type Site struct {
	Origin      string
	PublishPath string
	SocketPath  string // "" for the stock client's default
}

// A Visit is the caller's information about a request.
type Visit struct {
	// Gateway returns the gateway to manage. Its error is shown to the user.
	Gateway func() (*manage.Gateway, error)

	// Path below the portal's root, without a leading slash.
	Path string

	// User is the user's name, or "" if it is not known.
	User string

	// Ending is closed when the HTTP server shuts down and waits for streams. It is
	// nil if the server does not wait for them.
	Ending <-chan struct{}
}

// NewServer returns a Server. It fails only if the page templates are invalid.
func NewServer(config Config) (*Server, error) {
	pages, err := newPages()
	if err != nil {
		return nil, err
	}
	return &Server{pages: pages, config: config, forgery: http.NewCrossOriginProtection()}, nil
}

// Serve answers a request.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, v Visit) {
	visit := visit{Server: s, path: v.Path, user: v.User, ending: v.Ending, w: w, r: r}
	visit.serve(v.Gateway)
}

// Forbid answers an unauthenticated client with the configuration lines that
// authenticate users. path is the portal's path.
func (s *Server) Forbid(w http.ResponseWriter, r *http.Request, v Visit, path string) {
	visit := visit{Server: s, path: v.Path, w: w, r: r}
	visit.forbid(path)
}

// A visit handles one request.
type visit struct {
	*Server
	gateway *manage.Gateway
	user    string
	path    string
	w       http.ResponseWriter
	r       *http.Request
	ending  <-chan struct{}
}

// serve answers the request. find returns the gateway.
func (v *visit) serve(find func() (*manage.Gateway, error)) {
	v.guard()
	err := v.forgery.Check(v.r)
	if err != nil {
		err = apierr.OriginNotAllowed("This request comes from a page of another origin. Use the portal's own pages.")
	} else if v.r.Method == http.MethodPost && access.IsEarly(v.r) {
		err = apierr.TooEarly()
	} else if !v.canonical() {
		err = apierr.NotFound("This page does not exist. The portal's addresses have no escaped characters.")
	} else if v.gateway, err = find(); err == nil {
		err = v.route()
	}
	if err != nil {
		v.fail(err)
	}
}

// guard sets the security headers of the pages.
func (v *visit) guard() {
	h := v.w.Header()
	h.Set("Content-Security-Policy", v.pages.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin") // without an Origin, Caddy's admin endpoint checks the Referer
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// forbid answers an unauthenticated client with the configuration lines that
// authenticate users.
func (v *visit) forbid(path string) {
	v.guard()
	v.page(&apierr.Error{
		Status:  http.StatusForbidden,
		Message: "The portal answers only who is authenticated, and this site asks nobody who they are. Add to it what does, such as:",
	}, "basic_auth "+path+"* {\n\talice <what caddy hash-password prints>\n}")
}

func (v *visit) route() error {
	id, rest, below := strings.Cut(strings.TrimPrefix(v.path, "app/"), "/")
	if err := manage.CheckQuery(v.r, v.parameters(rest)...); err != nil {
		return err
	}
	switch {
	case v.path == "":
		return v.method(v.showApps, nil)
	case v.path == "app/":
		return v.method(nil, v.createApp)
	case !strings.HasPrefix(v.path, "app/"):
	case rest == "live":
		return v.method(func() error { return v.watch(id) }, nil)
	case rest == "webhooks":
		return v.method(func() error { return v.showHooks(id) }, func() error { return v.changeHooks(id) })
	case rest == "users":
		return v.method(func() error { return v.showUsers(id) }, func() error { return v.changeUser(id) })
	case rest == "members":
		return v.method(func() error { return v.showMembers(id) }, nil)
	case !below:
		return v.method(func() error { return v.showApp(id) }, func() error { return v.changeApp(id) })
	}
	return apierr.NotFound("This page does not exist.")
}

// parameters returns the query parameters that a page accepts.
func (v *visit) parameters(rest string) []string {
	switch {
	case v.path == "":
		return []string{"after", "done"}
	case !strings.HasPrefix(v.path, "app/") || v.path == "app/":
	case rest == "":
		return []string{"channel", "done", "rule", "site"}
	case rest == "webhooks":
		return []string{"done"}
	case rest == "users":
		return []string{"after", "done", "user"}
	case rest == "members":
		return []string{"after", "channel"}
	}
	return nil
}

// method calls the function for the request's method. A nil function means that the
// page does not accept the method.
func (v *visit) method(get, post func() error) error {
	allow := "GET, HEAD"
	switch {
	case get == nil:
		allow = "POST"
	case post != nil:
		allow = "GET, HEAD, POST"
	}
	switch {
	case (v.r.Method == http.MethodGet || v.r.Method == http.MethodHead) && get != nil:
		return get()
	case v.r.Method == http.MethodPost && post != nil:
		return post()
	}
	return apierr.MethodNotAllowed(v.r.Method, allow)
}

// appForm returns an app and parses the form that was submitted for it.
func (v *visit) appForm(id string) (*keystore.App, error) {
	app, err := v.app(id)
	if err != nil {
		return nil, err
	}
	return app, v.form()
}

// maxForm bounds a form apart from its largest field, in bytes.
const maxForm = 64 << 10

// form parses the submitted form.
func (v *visit) form() error {
	limit := maxForm + 3*v.gateway.Defaults().MaxBody // every byte of a publish can be escaped
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, limit)
	err := v.r.ParseForm()
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return apierr.PayloadTooLarge(limit, "more than "+strconv.FormatInt(limit, 10))
	}
	if err != nil {
		return apierr.InvalidRequest("The form could not be read: %s.", err)
	}
	return nil
}

// operator returns an Operator that logs who sent the request.
func (v *visit) operator() manage.Operator {
	who := []zap.Field{zap.String("remote", v.r.RemoteAddr)}
	if v.user != "" {
		who = append(who, zap.String("user", v.user))
	}
	return v.gateway.Operator(v.config.Logger, who...)
}

// show responds with a page.
func (v *visit) show(status int, name templateName, view pageView) error {
	view.Root, view.User = v.root(), v.user
	if v.gateway != nil {
		view.Form = v.gateway.Forms.ID()
		if name != messageTemplate {
			view.Silence = manage.Silence(v.gateway.Machines()) // asked last: it is about what the page has read
		}
	}
	var body bytes.Buffer
	if err := v.pages.write(&body, name, view); err != nil {
		return err
	}
	respond.HTML(v.w, status, body.Bytes())
	return nil
}

// canonical reports whether the request's path is spelled like the portal's links.
// Relative links and forms on a page at app%2F… would leave the portal.
func (v *visit) canonical() bool {
	return strings.HasSuffix(v.r.URL.EscapedPath(), "/"+v.path)
}

// root returns the relative URL of the portal's root. It counts only slashes that
// the browser treats as such: escaped ones do not count.
func (v *visit) root() string {
	escaped := strings.Count(v.r.URL.Path, "/") - strings.Count(v.r.URL.EscapedPath(), "/")
	if up := strings.Count(v.path, "/") - escaped; up > 0 {
		return strings.Repeat("../", up)
	}
	return "./"
}

// fail responds with an error: a page, or JSON for the page's script.
func (v *visit) fail(err error) {
	refusal := v.explain(err)
	if v.wantsJSON() {
		v.config.Refuse(v.w, v.r, refusal)
		return
	}
	v.page(refusal, "")
}

// explain returns an error for the user, and logs one that is a fault of the server.
func (v *visit) explain(err error) *apierr.Error {
	if _, told := errors.AsType[*apierr.Error](err); !told {
		v.config.Logger.Error("portal request failed", zap.String("path", text.MaskKeys(v.path)), zap.Error(err))
	}
	return manage.Explain(err)
}

// page shows an error page, with a text to copy if it is not "".
func (v *visit) page(refusal *apierr.Error, text string) {
	refusal.SetHeaders(v.w.Header())
	err := v.show(refusal.Status, messageTemplate, pageView{
		Title: http.StatusText(refusal.Status), Refusal: refusal.Message, Content: text,
	})
	if err != nil {
		v.config.Logger.Error("portal page failed", zap.Error(err))
		v.config.Refuse(v.w, v.r, refusal)
	}
}

func (v *visit) wantsJSON() bool {
	return strings.HasPrefix(v.r.Header.Get("Accept"), "application/json")
}
