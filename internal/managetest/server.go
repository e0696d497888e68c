// Package managetest serves the admin API in tests, with a real store and a real
// hub but without Caddy or clients.
package managetest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
	"github.com/seed-c079cc48/caddy-realtime/internal/live"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/presence"
)

// A Server is an admin API under test.
type Server struct {
	Gateway *manage.Gateway
	Hub     *hub.Hub[struct{}]
	Store   *keystore.Badger

	mux http.ServeMux
}

// routes registers the routes of the admin API.
func (s *Server) routes() {
	api := manage.API{Find: func() (*manage.Gateway, error) { return s.Gateway, nil }, Logger: zap.NewNop()}
	for _, route := range api.Routes() {
		s.mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) { _ = route.Handler.ServeHTTP(w, r) })
	}
}

// OpenStore opens an empty keystore, which is closed when the test ends.
func OpenStore(tb testing.TB) (*keystore.Badger, *keystore.Registry) {
	tb.Helper()
	store, err := keystore.OpenBadger(tb.TempDir(), zap.NewNop())
	if err != nil {
		tb.Fatal(err)
	}
	registry, err := keystore.Open(store)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := registry.Close(); err != nil {
			tb.Error(err)
		}
	})
	return store, registry
}

// New returns a server with an empty store, which is closed when the test ends.
func New(tb testing.TB) *Server {
	tb.Helper()
	store, registry := OpenStore(tb)
	channels, err := hub.New(hub.NewMemory(), hub.Codec[struct{}]{Encode: func(*hub.Message) struct{} { return struct{}{} }})
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{Hub: channels, Store: store, Gateway: &manage.Gateway{
		KeystorePlace: "/store",
		Registry:      registry,
		Channels:      channels,
		Machines:      func() []manage.Machine { return nil },
		Sockets:       noSockets{},
		Presence:      noPresence{},
		Publisher:     publisher{channels},
		Feeds:         new(live.Feeds),
		Defaults: func() manage.Defaults {
			return manage.Defaults{Publishes: 600, Window: time.Minute, MaxChannels: 100, MaxBody: 1 << 20, History: 100, HistoryAge: 2 * time.Minute, Recovery: 2 * time.Minute}
		},
		Draining: func() bool { return false },
	}}
	s.routes()
	return s
}

// Do sends a request to the admin API. body is JSON.
func (s *Server) Do(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return s.Serve(r)
}

// Serve sends a request to the admin API.
func (s *Server) Serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return w
}

// Create makes an app for a test to change.
func (s *Server) Create(tb testing.TB) *keystore.App {
	tb.Helper()
	made, err := s.Gateway.Registry.Create("shop")
	if err != nil {
		tb.Fatal(err)
	}
	return made.App
}

// Delete deletes an app.
func (s *Server) Delete(tb testing.TB, id string) {
	tb.Helper()
	if err := s.Gateway.Registry.Delete(id); err != nil {
		tb.Fatal(err)
	}
}

// Apps returns the number of apps.
func (s *Server) Apps() int {
	apps, _ := s.Gateway.Registry.Apps("", 1_000_000)
	return len(apps)
}

// MustHold fails the test unless the app is within its bounds and the store and the
// registry agree about it.
func (s *Server) MustHold(tb testing.TB, id string) *keystore.App {
	tb.Helper()
	app, ok := s.Gateway.Registry.App(id)
	if !ok {
		tb.Fatalf("the app %s is gone", id)
	}
	stored, err := s.Store.Load(tb.Context())
	if err != nil {
		tb.Fatalf("the store cannot be read: %v", err)
	}
	found := false
	for _, other := range stored {
		if other.ID == id {
			found = true
			if want, got := StoredText(tb, app), StoredText(tb, other); want != got {
				tb.Fatalf("the app is %s, and stored %s", want, got)
			}
		}
	}
	if !found {
		tb.Fatalf("the app %s is not stored", id)
	}
	if app.Rate != nil {
		if err := bounds.CheckRate("rate_limit", app.Rate.Limit, app.Rate.Window); err != nil {
			tb.Fatal(err)
		}
	}
	if app.History != nil {
		if err := bounds.CheckHistory("history", app.History.Messages, app.History.Age); err != nil {
			tb.Fatal(err)
		}
	}
	if app.Recovery != nil {
		if err := bounds.CheckRecovery("recovery", *app.Recovery); err != nil {
			tb.Fatal(err)
		}
	}
	if app.MaxConnections < 0 || app.MaxConnections > bounds.MaxCount || app.MaxChannels < 0 || app.MaxChannels > bounds.MaxCount ||
		app.MaxBody < 0 || app.MaxBody > bounds.MaxSize || len(app.AllowedOrigins) > manage.MaxOrigins {
		tb.Fatalf("an app with the bounds %d, %d, %d and %d origins", app.MaxConnections, app.MaxChannels, app.MaxBody, len(app.AllowedOrigins))
	}
	if _, err := access.ParseOrigins(app.AllowedOrigins); err != nil {
		tb.Fatal(err)
	}
	return app
}

// StoredText returns the stored form of an app, for comparison.
func StoredText(tb testing.TB, app *keystore.App) string {
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
		again.AllowedOrigins = nil // nil and empty both mean none
	}
	text, _ = json.Marshal(again)
	return string(text)
}

// noSockets implements manage.Sockets for a server without clients.
type noSockets struct{}

func (noSockets) Count(string) int                 { return 0 }
func (noSockets) CountByKey(string) map[string]int { return nil }
func (noSockets) Find(string, string) (manage.Connection, bool, error) {
	return manage.Connection{}, false, nil
}
func (noSockets) Disconnect(string, string, string) (found bool, _ error) { return false, nil }
func (noSockets) List(string, string, string, int) (page []manage.Connection, next string) {
	return nil, ""
}

func (noSockets) ListUser(string, string, string, int) (page []manage.Connection, next string, all int) {
	return []manage.Connection{}, "", 0
}

func (noSockets) Users(string, string, int, int) (page []manage.UserSockets, next string) {
	return nil, ""
}

func (noSockets) DisconnectUser(_, _, _ string, before func() error) (int, error) { return 0, before() }

// noPresence implements manage.Presence likewise.
type noPresence struct{}

func (noPresence) Members(string, string) []presence.Member { return nil }
func (noPresence) Count(string, string) int                 { return 0 }

// A publisher delivers messages through the hub, without limits.
type publisher struct{ hub *hub.Hub[struct{}] }

func (p publisher) Publish(ctx context.Context, app *keystore.App, m message.Publication) (message.Receipt, limit.Result, error) {
	receipt, err := p.hub.Publish(ctx, hub.Message{App: app.ID, Channel: m.Channel, Event: m.Event, Data: m.Data})
	return message.Receipt{ID: receipt.ID, Offset: receipt.Offset, Subscribers: receipt.Subscribers}, limit.Result{OK: true}, err
}

func (p publisher) PublishAll(ctx context.Context, app *keystore.App, all []message.Publication) (receipts []message.Receipt, _ limit.Result, err error) {
	for _, m := range all {
		receipt, _, err := p.Publish(ctx, app, m)
		if err != nil {
			return nil, limit.Result{}, err
		}
		receipts = append(receipts, receipt)
	}
	return receipts, limit.Result{OK: true}, nil
}

func (publisher) Refused(string, *apierr.Error) {}
