package manage_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

// FuzzWebhooks sends bodies to a webhook. A refusal changes nothing and is one of
// ours; what is accepted is a URL that can be called, and can be read back from the
// store.
func FuzzWebhooks(f *testing.F) {
	for _, seed := range []string{
		`{"url":"https://app.example.com/hooks","events":["rejected"],"prefix":"orders.","enabled":false}`,
		`{"url":"http://[::1]:80/?a=%20","events":null,"prefix":null,"enabled":null}`,
		`{"url":"https://u:p@a"}`, `{"url":"https://a#"}`, `{"url":"https:a"}`, `{"url":"https://a:99999"}`, `{"url":"https://a\\b"}`,
		`{"url":"https://a/\ud800"}`, `{"events":[]}`, `{"events":["rejected","rejected"]}`, `{"events":["\u0072ejected"]}`,
		`{"prefix":"a*"}`, `{"prefix":""}`, `{"prefix":"\ud800"}`, `{"overlap":"24h"}`, `{"Url":"https://a"}`, `{}`, `null`, `[]`, ``,
	} {
		for what := range byte(3) {
			f.Add(what, []byte(seed))
		}
	}
	s := managetest.New(f)
	f.Fuzz(func(t *testing.T, what byte, body []byte) {
		app := s.Create(t)
		defer s.Delete(t, app.ID)
		hook, err := s.Gateway.Registry.AddHook(app.ID, keystore.HookSpec{URL: "https://app.example.com/hooks", Enabled: true})
		if err != nil {
			t.Fatal(err)
		}
		before, _ := s.Gateway.Registry.App(app.ID)
		path := "/realtime/webhooks/" + app.ID
		request := [][2]string{{"POST", path}, {"PATCH", path + "/" + hook.ID}, {"POST", path + "/" + hook.ID + "/rotate"}}[what%3]
		w := s.Do(request[0], request[1], string(body))
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s is answered with %s", body, w.Body)
		}
		after := s.MustHold(t, app.ID)
		if w.Code >= http.StatusBadRequest {
			if w.Code >= http.StatusInternalServerError || after != before {
				t.Fatalf("%s is refused with %d %s, and leaves %+v", body, w.Code, w.Body, after.Hooks)
			}
			return
		}
		for _, h := range after.Hooks {
			u, err := url.Parse(h.URL)
			if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
				t.Fatalf("%s is accepted, and leaves the URL %s: %v", body, h.URL, err)
			}
			if _, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.URL, nil); err != nil {
				t.Fatalf("%s is accepted, and cannot be called: %v", body, err)
			}
			if h.Prefix != "" && message.CheckChannel(h.Prefix) != nil {
				t.Fatalf("%s is accepted, and leaves the prefix %q", body, h.Prefix)
			}
			for _, event := range h.Events {
				if !slices.Contains(keystore.HookEvents(), event) {
					t.Fatalf("%s is accepted, and leaves the events %q", body, h.Events)
				}
			}
			if keys := h.Secrets(h.Created); len(keys) > 2 || slices.Contains(keys, "") {
				t.Fatalf("%s leaves %d secrets", body, len(keys))
			}
		}
	})
}
