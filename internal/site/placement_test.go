package site_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	realtime "github.com/seed-c079cc48/caddy-realtime"
	"github.com/seed-c079cc48/caddy-realtime/internal/site"
)

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
	target := &realtime.Handler{PublishPath: "/publish", SocketPath: "/socket.io"}
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
	if got := site.PlacementOf(server, target); len(got.Misplacements) != 1 || !slices.Equal(got.Misplacements[0].Paths, []string{"/publish"}) {
		t.Errorf("%+v", got)
	}

	// One that is nowhere, or that invokes itself for ever, has no placement.
	if got := site.PlacementOf(server, new(realtime.Handler)); got.OriginalCounts || got.Misplacements != nil {
		t.Errorf("%+v", got)
	}
	server.Routes[0].Handlers = []caddyhttp.MiddlewareHandler{&caddyhttp.Invoke{Name: "self"}}
	site.PlacementOf(server, target)
}

func TestRefusalOfAPathByItsNameIsNoMistake(t *testing.T) {
	target := &realtime.Handler{PublishPath: "/publish", SocketPath: "/socket.io"}
	server := provisioned(t, `[{"match": [{"path": ["/publish"]}]}, {}]`)
	server.Routes[0].Handlers = []caddyhttp.MiddlewareHandler{&caddyhttp.StaticResponse{StatusCode: "403"}}
	server.Routes[1].Handlers = []caddyhttp.MiddlewareHandler{target}
	if got := site.PlacementOf(server, target); got.Misplacements != nil {
		t.Errorf("%+v", got.Misplacements)
	}
}
