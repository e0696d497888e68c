package realtime

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/stats"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// adminServer is the admin API and the portal on a real store, without Caddy.
type adminServer struct {
	rt     *runtime
	store  *keystore.Badger
	admin  *Admin
	portal *portalServer
}

func newAdminServer(tb testing.TB) *adminServer {
	tb.Helper()
	store, registry := openStore(tb)
	pages, err := newPortalServer(zap.NewNop())
	if err != nil {
		tb.Fatal(err)
	}
	settings := new(Settings)
	settings.setDefaults()
	rt := &runtime{log: zap.NewNop(), registry: registry, stats: stats.New()}
	rt.current.Store(settings)
	rt.hub = hub.New(hub.NewMemory(), func(m *hub.Message) *engineio.Packet { return socketio.EventPacket(m.Event, m.Data) })
	return &adminServer{rt: rt, store: store, admin: &Admin{logger: zap.NewNop()}, portal: pages}
}

// create makes an app, for a test to change.
func (s *adminServer) create(tb testing.TB) *keystore.App {
	tb.Helper()
	made, err := s.rt.registry.Create("shop")
	if err != nil {
		tb.Fatal(err)
	}
	return made.App
}

func (s *adminServer) delete(tb testing.TB, id string) {
	tb.Helper()
	if err := s.rt.registry.Delete(id); err != nil {
		tb.Fatal(err)
	}
}

// do has a function of the admin API answer a body, as Admin.route does.
func (s *adminServer) do(serve adminFunc, body string, path ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(path); i += 2 {
		r.SetPathValue(path[i], path[i+1])
	}
	w := httptest.NewRecorder()
	if err := serve(s.rt, w, r); err != nil {
		apierr.As(err).Write(w)
	}
	return w
}

// send sends a form to the portal.
func (s *adminServer) send(path, form string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/realtime/"+path, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	visit := portalVisit{portalServer: s.portal, path: path, w: w, r: r}
	visit.serve(func() (*runtime, error) { return s.rt, nil })
	return w
}

// mustHold fails the test unless the app is within its bounds, and the store
// has it as the registry does.
func (s *adminServer) mustHold(tb testing.TB, id string) *keystore.App {
	tb.Helper()
	app, ok := s.rt.registry.App(id)
	if !ok {
		tb.Fatalf("the app %s is gone", id)
	}
	stored, err := s.store.Load()
	if err != nil {
		tb.Fatalf("the store cannot be read: %v", err)
	}
	found := false
	for _, other := range stored {
		if other.ID == id {
			found = true
			if want, got := storedText(tb, app), storedText(tb, other); want != got {
				tb.Fatalf("the app is %s, and stored %s", want, got)
			}
		}
	}
	if !found {
		tb.Fatalf("the app %s is not stored", id)
	}
	if app.Rate != nil {
		limit := RateLimit{Publishes: app.Rate.Limit, Window: caddy.Duration(app.Rate.Window)}
		if err := limit.validate(); err != nil {
			tb.Fatal(err)
		}
	}
	if app.MaxConnections < 0 || app.MaxConnections > maxCount || app.MaxChannels < 0 || app.MaxChannels > maxCount ||
		app.MaxBody < 0 || app.MaxBody > maxSize || len(app.AllowedOrigins) > maxOrigins {
		tb.Fatalf("an app with the bounds %d, %d, %d and %d origins", app.MaxConnections, app.MaxChannels, app.MaxBody, len(app.AllowedOrigins))
	}
	if _, err := access.ParseOrigins(app.AllowedOrigins); err != nil {
		tb.Fatal(err)
	}
	return app
}

// storedText is what is kept of an app, to compare.
func storedText(tb testing.TB, app *keystore.App) string {
	tb.Helper()
	text, err := json.Marshal(app)
	if err != nil {
		tb.Fatal(err)
	}
	var again keystore.App
	if err := json.Unmarshal(text, &again); err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	if len(again.AllowedOrigins) == 0 {
		again.AllowedOrigins = nil // none, in either way
	}
	text, _ = json.Marshal(again)
	return string(text)
}
