package realtime

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// Every route of the admin API refuses a parameter that it does not know, and
// one that is there twice, by whatever method it is asked.
func TestEveryRouteRefusesUnknownParameters(t *testing.T) {
	s := newAdminServer(t)
	s.admin.portal = s.portal
	mux := http.NewServeMux()
	for _, route := range s.admin.Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) { _ = route.Handler.ServeHTTP(w, r) })
	}
	for path, known := range map[string]string{
		"/realtime/apps":                 "after, limit",
		"/realtime/apps/app_x":           "",
		"/realtime/keys/app_x":           "",
		"/realtime/keys/app_x/k":         "",
		"/realtime/keys/app_x/k/rotate":  "",
		"/realtime/channels/app_x":       "after, limit, prefix",
		"/realtime/channels/app_x/a":     "",
		"/realtime/connections/app_x":    "after, channel, limit",
		"/realtime/connections/app_x/id": "",
		"/realtime/live/app_x":           "",
		"/realtime/health":               "",
		"/realtime/health/ready":         "",
		"/realtime/health/live":          "",
		"/realtime/openapi.yaml":         "",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PATCH", "DELETE"} {
			says := "This takes none."
			if known != "" && (method == "GET" || method == "HEAD") {
				says = "This takes: " + known + "."
			}
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequest(method, path+"?name=shop", http.NoBody))
			if w.Code == http.StatusMethodNotAllowed {
				continue
			}
			if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `Unknown parameter \"name\". `+says) {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
		if known == "" {
			continue
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path+"?limit=1&limit=2", http.NoBody))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "limit is there twice") {
			t.Errorf("%s with a parameter twice: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestPlaceThatIsNoPagesNextIsRefused(t *testing.T) {
	s := newAdminServer(t)
	app := s.create(t)
	s.create(t)
	_, place := s.rt.registry.Apps("", 1)
	s.delete(t, app.ID) // its place stays
	app = s.create(t)
	for _, c := range []struct {
		what     string
		serve    adminFunc
		query    string
		accepted bool
	}{
		{"apps", s.admin.listApps, "after=" + url.QueryEscape(place), true},
		{"apps", s.admin.listApps, "after=" + app.ID, false},
		{"apps", s.admin.listApps, "after=zzz", false},
		{"channels", ofApp(s.admin.listChannels), "after=orders.42", true},
		{"channels", ofApp(s.admin.listChannels), "after=no%20spaces", false},
		{"channels", ofApp(s.admin.listChannels), "prefix=no%20spaces", false},
		{"connections", ofApp(s.admin.listConnections), "after=Wv7XKq0lRgl1c1JUa9Qn", true},
		{"connections", ofApp(s.admin.listConnections), "after=Wv7XKq0lRgl1c1JUa9Q", false},
		{"connections", ofApp(s.admin.listConnections), "after=Wv7XKq0lRgl1c1JUa9Qn%0a", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/?"+c.query, http.NoBody)
		r.SetPathValue("id", app.ID)
		err := c.serve(s.rt, httptest.NewRecorder(), r)
		if c.accepted && err != nil || !c.accepted && (err == nil || apierr.As(err).Status != http.StatusBadRequest) {
			t.Errorf("%s, %s: %v", c.what, c.query, err)
		}
	}
}

func TestPortalRefusesUnknownParameters(t *testing.T) {
	s := newAdminServer(t)
	app := s.create(t)
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
		w := httptest.NewRecorder()
		visit := portalVisit{portalServer: s.portal, path: strings.TrimPrefix(r.URL.Path, "/realtime/"), w: w, r: r}
		visit.serve(func() (*runtime, error) { return s.rt, nil })
		if w.Code != status {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestKeyExpiresAfterADuration(t *testing.T) {
	s := newAdminServer(t)
	app := s.create(t)
	for expires, good := range map[string]time.Duration{"1h": time.Hour, "90d": 90 * 24 * time.Hour} {
		before := time.Now()
		w := s.do(s.admin.addKey, `{"kind":"publish","expires":"`+expires+`"}`, "id", app.ID)
		keys := s.mustHold(t, app.ID).Keys
		until := keys[len(keys)-1].Expires
		if w.Code != http.StatusCreated || until.Before(before.Add(good)) || until.After(time.Now().Add(good)) {
			t.Errorf("%s: %d %s", expires, w.Code, w.Body)
		}
	}
	for expires, says := range map[string]string{
		`"0s"`:       "expires is in the past",
		`"-1h"`:      "expires is in the past",
		`"tomorrow"`: `expires is \"tomorrow\". It takes how long the key is good`,
		`"1 h"`:      `for example \"90d\"`,
		`3600`:       `expires is \"3600\". It takes`,
		`[]`:         `or null for ever`,
	} {
		w := s.do(s.admin.addKey, `{"kind":"publish","expires":`+expires+`}`, "id", app.ID)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s: %d %s, want %q", expires, w.Code, w.Body, says)
		}
	}
}

// A field of the wrong type gets a message that names it and what it takes.
func TestFieldOfTheWrongTypeIsNamed(t *testing.T) {
	s := newAdminServer(t)
	app := s.create(t)
	for body, says := range map[string]string{
		`{"name":5}`:                                 "name must be a string, not a number.",
		`{"enabled":"yes"}`:                          "enabled must be true or false, not a string.",
		`{"allowed_origins":"x"}`:                    `allowed_origins must be a list of strings`,
		`{"allowed_origins":[5]}`:                    `allowed_origins must be a list of strings`,
		`{"rate_limit":600}`:                         `rate_limit is a number. It takes {\"publishes\":600,\"window\":\"1m\"}, or null`,
		`{"rate_limit":{"publishes":"600"}}`:         "publishes must be a whole number, not a string.",
		`{"rate_limit":{"publishes":1.5}}`:           "publishes must be a whole number, not the number 1.5.",
		`{"rate_limit":{"publishes":5,"window":60}}`: `window must be a duration, \"1m\", not a number.`,
		`{"max_body":"1MiB"}`:                        "max_body is a whole number from 1",
		`[]`:                                         "The body must be an object, not a list.",
	} {
		w := s.do(s.admin.patchApp, body, "id", app.ID)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s: %d %s, want %q", body, w.Code, w.Body, says)
		}
	}
	for body, says := range map[string]string{
		`{"kind":5}`:                      `kind must be \"publish\" or \"subscribe\", not a number.`,
		`{"kind":"publish","label":true}`: "label must be a string, not true or false.",
	} {
		w := s.do(s.admin.addKey, body, "id", app.ID)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s: %d %s, want %q", body, w.Code, w.Body, says)
		}
	}
	w := s.do(s.admin.rotateKey, `{"overlap":24}`, "id", app.ID, "key", app.Keys[0].ID)
	if says := `overlap must be a duration, \"24h\", not a number.`; w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says) {
		t.Errorf("%d %s, want %q", w.Code, w.Body, says)
	}
}
