package manage_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
)

// Every route of the admin API refuses a parameter that it does not know, and
// one that is there twice, by whatever method it is asked.
func TestEveryRouteRefusesUnknownParameters(t *testing.T) {
	s := managetest.New(t)
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
			says := "No parameters are allowed here."
			if known != "" && (method == "GET" || method == "HEAD") {
				says = "Allowed: " + known + "."
			}
			w := s.Do(method, path+"?name=shop", "")
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
		w := s.Do("GET", path+"?limit=1&limit=2", "")
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "limit is duplicated") {
			t.Errorf("%s with a parameter twice: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestPlaceThatIsNoPagesNextIsRefused(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	s.Create(t)
	_, place := s.Gateway.Registry.Apps("", 1)
	s.Delete(t, app.ID) // its place stays
	app = s.Create(t)
	for _, c := range []struct {
		path     string
		accepted bool
	}{
		{"apps?after=" + url.QueryEscape(place), true},
		{"apps?after=" + app.ID, false},
		{"apps?after=zzz", false},
		{"channels/" + app.ID + "?after=orders.42", true},
		{"channels/" + app.ID + "?after=no%20spaces", false},
		{"channels/" + app.ID + "?prefix=no%20spaces", false},
		{"connections/" + app.ID + "?after=Wv7XKq0lRgl1c1JUa9Qn", true},
		{"connections/" + app.ID + "?after=Wv7XKq0lRgl1c1JUa9Q", false},
		{"connections/" + app.ID + "?after=Wv7XKq0lRgl1c1JUa9Qn%0a", false},
	} {
		w := s.Do("GET", "/realtime/"+c.path, "")
		if c.accepted && w.Code != http.StatusOK || !c.accepted && w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
	}
}

func TestKeyExpiresAfterADuration(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	for expires, good := range map[string]time.Duration{"1h": time.Hour, "90d": 90 * 24 * time.Hour} {
		before := time.Now()
		w := s.Do("POST", "/realtime/keys/"+app.ID, `{"kind":"publish","expires":"`+expires+`"}`)
		keys := s.MustHold(t, app.ID).Keys
		until := keys[len(keys)-1].Expires
		if w.Code != http.StatusCreated || until.Before(before.Add(good)) || until.After(time.Now().Add(good)) {
			t.Errorf("%s: %d %s", expires, w.Code, w.Body)
		}
	}
	for expires, says := range map[string]string{
		`"0s"`:       "expires is in the past",
		`"-1h"`:      "expires is in the past",
		`"tomorrow"`: `expires is \"tomorrow\". Send how long the key is valid`,
		`"1 h"`:      `for example \"90d\"`,
		`3600`:       `expires is \"3600\". Send how long`,
		`[]`:         `or null for no expiry`,
	} {
		w := s.Do("POST", "/realtime/keys/"+app.ID, `{"kind":"publish","expires":`+expires+`}`)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s: %d %s, want %q", expires, w.Code, w.Body, says)
		}
	}
}

// A field of the wrong type gets a message that names it and what it takes.
func TestFieldOfTheWrongTypeIsNamed(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	for body, says := range map[string]string{
		`{"name":5}`:                                 "name must be a string, not a number.",
		`{"enabled":"yes"}`:                          "enabled must be true or false, not a string.",
		`{"allowed_origins":"x"}`:                    `allowed_origins must be a list of strings`,
		`{"allowed_origins":[5]}`:                    `allowed_origins must be a list of strings`,
		`{"rate_limit":600}`:                         `rate_limit is a number. Send {\"publishes\":600,\"window\":\"1m\"}, or null`,
		`{"rate_limit":{"publishes":"600"}}`:         "publishes must be a whole number, not a string.",
		`{"rate_limit":{"publishes":1.5}}`:           "publishes must be a whole number, not the number 1.5.",
		`{"rate_limit":{"publishes":5,"window":60}}`: `window must be a duration, \"1m\", not a number.`,
		`{"max_body":"1MiB"}`:                        "max_body is a whole number from 1",
		`[]`:                                         "The body must be an object, not a list.",
	} {
		w := s.Do("PATCH", "/realtime/apps/"+app.ID, body)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s: %d %s, want %q", body, w.Code, w.Body, says)
		}
	}
	for body, says := range map[string]string{
		`{"kind":5}`:                      `kind must be \"publish\", \"subscribe\" or \"sign\", not a number.`,
		`{"kind":"publish","label":true}`: "label must be a string, not true or false.",
	} {
		w := s.Do("POST", "/realtime/keys/"+app.ID, body)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s: %d %s, want %q", body, w.Code, w.Body, says)
		}
	}
	w := s.Do("POST", "/realtime/keys/"+app.ID+"/"+app.Keys[0].ID+"/rotate", `{"overlap":24}`)
	if says := `overlap must be a duration, \"24h\", not a number.`; w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says) {
		t.Errorf("%d %s, want %q", w.Code, w.Body, says)
	}
}
