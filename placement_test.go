package realtime

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

func TestOtherSpellingsAreCleanedOrRedirected(t *testing.T) {
	h := &Handler{PublishPath: "/publish", SocketPath: "/rt/socket.io"}
	for path, want := range map[string]struct {
		place place
		exact bool
	}{
		"/publish":          {publishPlace, true},
		"//publish":         {publishPlace, true},
		"/./publish":        {publishPlace, true},
		"/x/../publish":     {publishPlace, true},
		"/publish/":         {publishPlace, false},
		"/publish//":        {publishPlace, false},
		"/Publish":          {publishPlace, false},
		"/rt/socket.io":     {socketPlace, true},
		"/rt/socket.io/":    {socketPlace, true},
		"//rt//socket.io//": {socketPlace, true},
		"/RT/socket.io/":    {socketPlace, false},
		"/publish/x":        {notOurs, false},
		"/publish/..":       {notOurs, false},
		"/xpublish":         {notOurs, false},
		"publish":           {notOurs, false},
		"":                  {notOurs, false},
		"/":                 {notOurs, false},
		"*":                 {notOurs, false},
	} {
		if place, exact := h.find(path); place != want.place || exact != want.exact {
			t.Errorf("%q: %v %t, want %v %t", path, place, exact, want.place, want.exact)
		}
	}
}

func TestRedirectStaysOnTheSite(t *testing.T) {
	h := &Handler{PublishPath: "/publish", SocketPath: "/socket.io", logger: zap.NewNop()}
	for _, c := range []struct{ original, current, location string }{
		{"/publish/", "/publish/", "/publish"},
		{"/rt/publish/", "/publish/", "/rt/publish"},
		{"//evil.example/publish/", "/publish/", "/evil.example/publish"},
		{"//evil.example/..//publish/", "//evil.example/..//publish/", "/publish"},
		{"/events", "/publish/", ""}, // a rewrite: the client cannot know better
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		original := *r
		original.URL = r.URL.JoinPath() // a copy
		original.URL.Path = c.original
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, original))
		r.URL.Path = c.current
		w := httptest.NewRecorder()
		h.redirect(w, r, publishPlace)
		status := http.StatusPermanentRedirect
		if c.location == "" {
			status = http.StatusNotFound
		}
		if got := w.Header().Get("Location"); got != c.location || w.Code != status {
			t.Errorf("%s as %s: %d to %q, want %d to %q", c.original, c.current, w.Code, got, status, c.location)
		}
	}
}

// provisioned returns a server with these routes.
func provisioned(t *testing.T, routes string) *caddyhttp.Server {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	server := new(caddyhttp.Server)
	if err := json.Unmarshal([]byte(routes), &server.Routes); err != nil {
		t.Fatal(err)
	}
	for i := range server.Routes {
		if err := server.Routes[i].ProvisionMatchers(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return server
}

// pass is a handler of another module, which may be of any type.
type pass []string

func (pass) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return next.ServeHTTP(w, r)
}

func TestOddRoutesAreNoTrouble(t *testing.T) {
	target := &Handler{PublishPath: "/publish", SocketPath: "/socket.io"}
	respond := &caddyhttp.StaticResponse{}
	server := provisioned(t, `[{}, {}, {"match": [{"path": ["/publish"]}]}, {}]`)
	server.NamedRoutes = map[string]*caddyhttp.Route{
		"self": {Handlers: []caddyhttp.MiddlewareHandler{&caddyhttp.Invoke{Name: "self"}, &caddyhttp.Invoke{Name: "self"}}},
		"none": nil,
	}
	server.Routes[0].Handlers = []caddyhttp.MiddlewareHandler{pass{}, nil, &caddyhttp.Invoke{Name: "none"}, &caddyhttp.Invoke{Name: "unknown"}}
	server.Routes[1].MatcherSets = caddyhttp.MatcherSets{{}, {struct{}{}}, nil}
	server.Routes[2].Handlers = []caddyhttp.MiddlewareHandler{respond}
	server.Routes[3].Handlers = []caddyhttp.MiddlewareHandler{target}
	if got := placementOf(server, target); len(got.warnings) != 1 || !slices.Equal(got.warnings[0].paths, []string{"/publish"}) {
		t.Errorf("%+v", got)
	}

	// One that is nowhere, or that invokes itself for ever, has no placement.
	if got := placementOf(server, new(Handler)); got.originalCounts || got.warnings != nil {
		t.Errorf("%+v", got)
	}
	server.Routes[0].Handlers = []caddyhttp.MiddlewareHandler{&caddyhttp.Invoke{Name: "self"}}
	placementOf(server, target)
}

func TestRefusalOfAPathByItsNameIsNoMistake(t *testing.T) {
	target := &Handler{PublishPath: "/publish", SocketPath: "/socket.io"}
	server := provisioned(t, `[{"match": [{"path": ["/publish"]}]}, {}]`)
	server.Routes[0].Handlers = []caddyhttp.MiddlewareHandler{&caddyhttp.StaticResponse{StatusCode: "403"}}
	server.Routes[1].Handlers = []caddyhttp.MiddlewareHandler{target}
	if got := placementOf(server, target); got.warnings != nil {
		t.Errorf("%+v", got.warnings)
	}
}
