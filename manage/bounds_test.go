package manage_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
)

func TestKeyExpiresWhenItsRequestSays(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	for expires, says := range map[string]string{
		"0001-01-01T00:00:00Z":      "expires is in the past", // Go's zero time, which is no "never"
		"2001-01-01T00:00:00Z":      "expires is in the past",
		"9999-12-31T23:59:59-01:00": "after the year 9999",
	} {
		w := s.Do("POST", "/realtime/keys/"+app.ID, `{"kind":"publish","expires":"`+expires+`"}`)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s: %d %s, want 400 with %q", expires, w.Code, w.Body, says)
		}
	}
	w := s.Do("POST", "/realtime/keys/"+app.ID, `{"kind":"publish","expires":"9999-12-31T23:59:59+01:00"}`)
	after := s.MustHold(t, app.ID)
	if want := time.Date(9999, 12, 31, 22, 59, 59, 0, time.UTC); w.Code != http.StatusCreated || !after.Keys[2].Expires.Equal(want) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestNameThatIsNotUTF8IsRefused(t *testing.T) {
	s := managetest.New(t)
	w := s.Do("POST", "/realtime/apps", "{\"name\":\"caf\xe9\"}")
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "not UTF-8 at byte 13") || s.Apps() != 0 {
		t.Errorf("%d %s, %d apps", w.Code, w.Body, s.Apps())
	}
}

func TestNameWithHalfOfACharacterIsRefused(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	for what, w := range map[string]*httptest.ResponseRecorder{
		"new app": s.Do("POST", "/realtime/apps", `{"name":"caf\udc00"}`),
		"app":     s.Do("PATCH", "/realtime/apps/"+app.ID, `{"name":"\ud83d shop"}`),
		"label":   s.Do("POST", "/realtime/keys/"+app.ID, `{"kind":"publish","label":"\ud83d\ud83d"}`),
	} {
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "half of a surrogate pair") {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	if after := s.MustHold(t, app.ID); s.Apps() != 1 || after.Name != "shop" || len(after.Keys) != 2 {
		t.Errorf("%d apps, %+v", s.Apps(), after)
	}
	if w := s.Do("POST", "/realtime/apps", `{"name":"\ud83d\ude00"}`); w.Code != http.StatusCreated || !strings.Contains(w.Body.String(), `"name":"😀"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// An operator pastes into the wrong field, too.
func TestAKeyIsNoNameAndNoLabel(t *testing.T) {
	s := managetest.New(t)
	made, err := s.Gateway.Registry.Create("shop")
	if err != nil {
		t.Fatal(err)
	}
	app := made.App
	for _, key := range []string{made.PublishKey, "of CI: " + made.SubscribeKey, "Bearer " + made.PublishKey[:20]} {
		for what, w := range map[string]*httptest.ResponseRecorder{
			"new app": s.Do("POST", "/realtime/apps", `{"name":"`+key+`"}`),
			"app":     s.Do("PATCH", "/realtime/apps/"+app.ID, `{"name":"`+key+`"}`),
			"label":   s.Do("POST", "/realtime/keys/"+app.ID, `{"kind":"publish","label":"`+key+`"}`),
		} {
			if body := w.Body.String(); w.Code != http.StatusBadRequest || !strings.Contains(body, "contains a key") || strings.Contains(body, key) {
				t.Errorf("%s: %d %s", what, w.Code, body)
			}
		}
	}
	if after := s.MustHold(t, app.ID); s.Apps() != 1 || after.Name != "shop" || len(after.Keys) != 2 {
		t.Errorf("%d apps, %+v", s.Apps(), after)
	}
	for _, word := range []string{"pk_live_", "the pk_live_ key of CI", "sub_live_…8dJ"} {
		if w := s.Do("POST", "/realtime/keys/"+app.ID, `{"kind":"publish","label":"`+word+`"}`); w.Code != http.StatusCreated {
			t.Errorf("%s: %d %s", word, w.Code, w.Body)
		}
	}
}

func TestAdminBodyIsWhatItsHeadersSay(t *testing.T) {
	s := managetest.New(t)
	for _, header := range [][2]string{
		{"Content-Encoding", "gzip"},
		{"Content-Type", "application/json; charset=utf-16"},
		{"Content-Type", "text/plain"},
		{"Content-Type", ""},
	} {
		r := httptest.NewRequest(http.MethodPost, "/realtime/apps", strings.NewReader(`{"name":"shop"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(header[0], header[1])
		w := s.Serve(r)
		if w.Code != http.StatusUnsupportedMediaType || !strings.Contains(w.Body.String(), "Send ") {
			t.Errorf("%v: %d %s", header, w.Code, w.Body)
		}
	}
	if n := s.Apps(); n != 0 {
		t.Errorf("%d apps", n)
	}
}
