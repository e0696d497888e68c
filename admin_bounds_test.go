package realtime

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
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

func TestNameWithHalfOfACharacterIsRefused(t *testing.T) {
	s := newAdminServer(t)
	app := s.create(t)
	for what, w := range map[string]*httptest.ResponseRecorder{
		"new app": s.do(s.admin.createApp, `{"name":"caf\udc00"}`),
		"app":     s.do(s.admin.patchApp, `{"name":"\ud83d shop"}`, "id", app.ID),
		"label":   s.do(s.admin.addKey, `{"kind":"publish","label":"\ud83d\ud83d"}`, "id", app.ID),
	} {
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "half of a surrogate pair") {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	if after := s.mustHold(t, app.ID); s.rt.registry.Len() != 1 || after.Name != "shop" || len(after.Keys) != 2 {
		t.Errorf("%d apps, %+v", s.rt.registry.Len(), after)
	}
	if w := s.do(s.admin.createApp, `{"name":"\ud83d\ude00"}`); w.Code != http.StatusCreated || !strings.Contains(w.Body.String(), `"name":"😀"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// An operator pastes into the wrong field, too.
func TestAKeyIsNoNameAndNoLabel(t *testing.T) {
	s := newAdminServer(t)
	made, err := s.rt.registry.Create("shop")
	if err != nil {
		t.Fatal(err)
	}
	app := made.App
	for _, key := range []string{made.PublishKey, "of CI: " + made.SubscribeKey, "Bearer " + made.PublishKey[:20]} {
		form := url.Values{"do": {"save"}, "name": {key}, "enabled": {"on"}}
		for what, w := range map[string]*httptest.ResponseRecorder{
			"new app":                s.do(s.admin.createApp, `{"name":"`+key+`"}`),
			"app":                    s.do(s.admin.patchApp, `{"name":"`+key+`"}`, "id", app.ID),
			"label":                  s.do(s.admin.addKey, `{"kind":"publish","label":"`+key+`"}`, "id", app.ID),
			"new app, in the portal": s.send("app/", url.Values{"name": {key}}.Encode()),
			"app, in the portal":     s.send("app/"+app.ID, form.Encode()),
			"a label, in the portal": s.send("app/"+app.ID, url.Values{"do": {"add-key"}, "kind": {"publish"}, "label": {key}}.Encode()),
		} {
			if body := w.Body.String(); w.Code != http.StatusBadRequest || !strings.Contains(body, "holds a key") || strings.Contains(body, key) {
				t.Errorf("%s: %d %s", what, w.Code, body)
			}
		}
	}
	if after := s.mustHold(t, app.ID); s.rt.registry.Len() != 1 || after.Name != "shop" || len(after.Keys) != 2 {
		t.Errorf("%d apps, %+v", s.rt.registry.Len(), after)
	}
	for _, word := range []string{"pk_live_", "the pk_live_ key of CI", "sub_live_…8dJ"} {
		if w := s.do(s.admin.addKey, `{"kind":"publish","label":"`+word+`"}`, "id", app.ID); w.Code != http.StatusCreated {
			t.Errorf("%s: %d %s", word, w.Code, w.Body)
		}
	}
}

func TestAdminBodyIsWhatItsHeadersSay(t *testing.T) {
	s := newAdminServer(t)
	for _, header := range [][2]string{
		{"Content-Encoding", "gzip"},
		{"Content-Type", "application/json; charset=utf-16"},
		{"Content-Type", "text/plain"},
		{"Content-Type", ""},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"name":"shop"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(header[0], header[1])
		refusal := apierr.As(s.admin.createApp(s.rt, httptest.NewRecorder(), r))
		if refusal.Status != http.StatusUnsupportedMediaType || !strings.Contains(refusal.Message, "Send ") {
			t.Errorf("%v: %d %s", header, refusal.Status, refusal.Message)
		}
	}
	if n := s.rt.registry.Len(); n != 0 {
		t.Errorf("%d apps", n)
	}
}
