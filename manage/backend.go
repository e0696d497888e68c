package manage

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

// An operation on the channels and users of an app, for its backend below a site's
// api_path, and for operators on the admin endpoint.
type operation struct {
	method     string
	parameters []string // of the query
	do         func(*call) error
}

// A call is a request for an operation.
type call struct {
	*Gateway
	Operator

	w   http.ResponseWriter
	r   *http.Request
	app *keystore.App // nil until an operator's request is known to be right

	channel, user string // in the path; the other is ""
}

// backendPaths are the operations by their paths, where * is a channel or a user.
var backendPaths = map[string]operation{
	"channels":            {http.MethodGet, []string{"after", "limit", "prefix"}, (*call).listChannels},
	"channels/*":          {http.MethodGet, nil, (*call).showChannel},
	"channels/*/members":  {http.MethodGet, []string{"after", "limit"}, (*call).listMembers},
	"channels/*/messages": {http.MethodGet, []string{"limit", "order", "since"}, (*call).listMessages},
	"users":               {http.MethodGet, []string{"after", "limit"}, (*call).listUsers},
	"users/*":             {http.MethodGet, []string{"after", "limit"}, (*call).showUser},
	"users/*/connections": {http.MethodDelete, nil, (*call).disconnectUser},
	"users/*/revoke":      {http.MethodPost, nil, (*call).revokeUser},
}

// ServeBackend serves the API of an app's backend, whose key was checked. path is the
// escaped path below the API's own, without a slash in front. Errors to show are of
// type *apierr.Error. who identifies the backend in the log.
func (g *Gateway) ServeBackend(w http.ResponseWriter, r *http.Request, app *keystore.App, path string, logger *zap.Logger, who ...zap.Field) error {
	c := &call{Gateway: g, Operator: g.Operator(logger, who...), w: w, r: r, app: app}
	return c.serve(path, "The API has channels, channels/{channel}, channels/{channel}/members, channels/{channel}/messages, "+
		"users, users/{user}, users/{user}/connections and users/{user}/revoke. Write a slash in a name as %2F.")
}

// serve does what a path below the API's own says. available names the paths.
func (c *call) serve(path, available string) error {
	op, err := c.find(path)
	if err != nil {
		return err
	}
	if op == nil {
		return apierr.NotFound("Nothing exists at %s. %s", text.Quote(c.r.URL.Path), available)
	}
	if err := checkMethod(c.r, op.method); err != nil {
		return err
	}
	if err := CheckQuery(c.r, op.parameters...); err != nil {
		return err
	}
	if c.app == nil {
		var ok bool
		id := c.r.PathValue("id")
		if c.app, ok = c.Registry.App(id); !ok {
			return errNoSuchApp(id)
		}
	}
	return op.do(c)
}

// find returns the operation at a path, or nil, and reads the name in the path.
func (c *call) find(path string) (*operation, error) {
	kind, rest, named := strings.Cut(strings.TrimSuffix(path, "/"), "/")
	pattern := kind
	if named {
		escaped, part := rest, ""
		if i := strings.LastIndexByte(rest, '/'); i >= 0 {
			if _, ok := backendPaths[kind+"/*"+rest[i:]]; ok {
				escaped, part = rest[:i], rest[i:]
			}
		}
		name, err := url.PathUnescape(escaped)
		if err != nil {
			return nil, apierr.InvalidRequest("The path is not valid: %s.", err)
		}
		pattern += "/*" + part
		switch kind {
		case "channels":
			c.channel, err = name, message.CheckChannel(name)
		case "users":
			c.user, err = name, message.CheckUser("The user in the path", name)
		}
		if err != nil {
			return nil, err
		}
	}
	if op, ok := backendPaths[pattern]; ok {
		return &op, nil
	}
	return nil, nil
}

// backendRoutes returns the same operations on the admin endpoint, where the app
// follows channels or users.
func (a *API) backendRoutes() []caddy.AdminRoute {
	serve := func(g *Gateway, w http.ResponseWriter, r *http.Request) error {
		// A name can have slashes, which the mux would unescape.
		parts := strings.SplitN(r.URL.EscapedPath(), "/", 5) // "", realtime, kind, app, rest
		path := parts[2]
		if len(parts) == 5 {
			path += "/" + parts[4]
		}
		c := &call{Gateway: g, Operator: a.operator(g, r), w: w, r: r}
		return c.serve(path, "/realtime/openapi.yaml says what there is.")
	}
	patterns := []struct{ pattern, method string }{
		{"/realtime/channels/{id}", http.MethodGet},
		{"/realtime/channels/{id}/{channel...}", http.MethodGet},
		{"/realtime/users/{id}", http.MethodGet},
		{"/realtime/users/{id}/{user}", http.MethodGet},
		{"/realtime/users/{id}/{user}/connections", http.MethodDelete},
		{"/realtime/users/{id}/{user}/revoke", http.MethodPost},
	}
	routes := make([]caddy.AdminRoute, 0, len(patterns))
	for _, route := range patterns {
		answer := a.answered(serve)
		routes = append(routes, caddy.AdminRoute{Pattern: route.pattern, Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			if err := checkMethod(r, route.method); err != nil { // before the app is looked up
				apierr.As(err).Write(w)
				return nil
			}
			return answer(w, r)
		})})
	}
	return routes
}

// checkMethod returns an error if a request does not have the method. HEAD is GET.
func checkMethod(r *http.Request, method string) error {
	if r.Method == method || r.Method == http.MethodHead && method == http.MethodGet {
		return nil
	}
	allow := method
	if method == http.MethodGet {
		allow = "GET, HEAD"
	}
	return apierr.MethodNotAllowed(r.Method, allow)
}
