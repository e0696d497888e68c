package realtime

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

func TestKeyExpiresWhenItsRequestSays(t *testing.T) {
	s := newAdminServer(t)
	app := s.create(t)
	for expires, says := range map[string]string{
		"0001-01-01T00:00:00Z":      "expires is in the past", // Go's zero time, which is no "never"
		"2001-01-01T00:00:00Z":      "expires is in the past",
		"9999-12-31T23:59:59-01:00": "after the year 9999",
	} {
		w := s.do(s.admin.addKey, `{"kind":"publish","expires":"`+expires+`"}`, "id", app.ID)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s: %d %s, want 400 with %q", expires, w.Code, w.Body, says)
		}
	}
	w := s.do(s.admin.addKey, `{"kind":"publish","expires":"9999-12-31T23:59:59+01:00"}`, "id", app.ID)
	after := s.mustHold(t, app.ID)
	if want := time.Date(9999, 12, 31, 22, 59, 59, 0, time.UTC); w.Code != http.StatusCreated || !after.Keys[2].Expires.Equal(want) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestPortalSavesANumberHoweverItIsWritten(t *testing.T) {
	for _, publishes := range []string{"7", "+7", "007", " 7 "} {
		s := newAdminServer(t)
		app := s.create(t)
		form := url.Values{"do": {"save"}, "name": {"shop"}, "publishes": {publishes}, "window": {"1m"}, "max_body": {publishes}}
		w := s.send("app/"+app.ID, form.Encode())
		after := s.mustHold(t, app.ID)
		if w.Code != http.StatusSeeOther || after.Rate == nil || *after.Rate != (keystore.Rate{Limit: 7, Window: time.Minute}) || after.MaxBody != 7 {
			t.Errorf("%q: %d, %+v", publishes, w.Code, after)
		}
	}
}

func TestNameThatIsNotUTF8IsRefused(t *testing.T) {
	s := newAdminServer(t)
	w := s.do(s.admin.createApp, "{\"name\":\"caf\xe9\"}")
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "not UTF-8 at byte 13") || s.rt.registry.Len() != 0 {
		t.Errorf("%d %s, %d apps", w.Code, w.Body, s.rt.registry.Len())
	}
}
