package portal

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// A portalServer is the portal on a real store, without Caddy.
type portalServer struct {
	*managetest.Server
	portal *Server
}

func newPortalServer(tb testing.TB) *portalServer {
	tb.Helper()
	server, err := NewServer(Config{
		Logger: zap.NewNop(),
		Sites:  func() []Site { return []Site{{Origin: "https://a.example", PublishPath: "/publish"}} },
		Refuse: func(w http.ResponseWriter, _ *http.Request, refusal *apierr.Error) { refusal.Write(w) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	return &portalServer{managetest.New(tb), server}
}

// visit has the portal answer a request.
func (s *portalServer) visit(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.portal.Serve(w, r, Visit{
		Gateway: func() (*manage.Gateway, error) { return s.Gateway, nil },
		Path:    strings.TrimPrefix(r.URL.Path, "/realtime/"),
	})
	return w
}

// send sends a form to the portal.
func (s *portalServer) send(path, form string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/realtime/"+path, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.visit(r)
}

// get visits a page.
func (s *portalServer) get(path string) *httptest.ResponseRecorder {
	return s.visit(httptest.NewRequest(http.MethodGet, "/realtime/"+path, http.NoBody))
}

func TestPortalSavesANumberHoweverItIsWritten(t *testing.T) {
	for _, publishes := range []string{"7", "+7", "007", " 7 "} {
		s := newPortalServer(t)
		app := s.Create(t)
		form := url.Values{"do": {"save"}, "name": {"shop"}, "publishes": {publishes}, "window": {"1m"}, "max_body": {publishes}}
		w := s.send("app/"+app.ID, form.Encode())
		after := s.MustHold(t, app.ID)
		if w.Code != http.StatusSeeOther || after.Rate == nil || *after.Rate != (keystore.Rate{Limit: 7, Window: time.Minute}) || after.MaxBody != 7 {
			t.Errorf("%q: %d, %+v", publishes, w.Code, after)
		}
	}
}

func TestPortalRefusesUnknownParameters(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	for path, status := range map[string]int{
		"?done=delete": http.StatusOK,
		"?after=zzz":   http.StatusBadRequest,
		"?name=shop":   http.StatusBadRequest,
		"app/" + app.ID + "?done=save&channel=a&site=b": http.StatusOK,
		"app/" + app.ID + "?channl=a":                   http.StatusBadRequest,
		"app/" + app.ID + "?channel=a&channel=b":        http.StatusBadRequest,
		"app/" + app.ID + "/live?channel=a":             http.StatusBadRequest,
	} {
		r := httptest.NewRequest(http.MethodGet, "/realtime/"+path, http.NoBody)
		w := s.visit(r)
		if w.Code != status {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// An operator pastes into the wrong field, too.
func TestAKeyIsNoNameAndNoLabel(t *testing.T) {
	s := newPortalServer(t)
	made, err := s.Gateway.Registry.Create("shop")
	if err != nil {
		t.Fatal(err)
	}
	app := made.App
	for _, key := range []string{made.PublishKey, "of CI: " + made.SubscribeKey, "Bearer " + made.PublishKey[:20]} {
		for what, w := range map[string]*httptest.ResponseRecorder{
			"new app": s.send("app/", url.Values{"name": {key}}.Encode()),
			"app":     s.send("app/"+app.ID, url.Values{"do": {"save"}, "name": {key}, "enabled": {"on"}}.Encode()),
			"label":   s.send("app/"+app.ID, url.Values{"do": {"add-key"}, "kind": {"publish"}, "label": {key}}.Encode()),
		} {
			if body := w.Body.String(); w.Code != http.StatusBadRequest || !strings.Contains(body, "contains a key") || strings.Contains(body, key) {
				t.Errorf("%s: %d %s", what, w.Code, body)
			}
		}
	}
	if after := s.MustHold(t, app.ID); s.Apps() != 1 || after.Name != "shop" || len(after.Keys) != 2 {
		t.Errorf("%d apps, %+v", s.Apps(), after)
	}
}
