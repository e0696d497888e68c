package manage_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// mustDo sends a request that must succeed, and reads its answer.
func mustDo(t *testing.T, s *managetest.Server, status int, method, path, body string, into any) {
	t.Helper()
	w := s.Do(method, path, body)
	if w.Code != status {
		t.Fatalf("%s %s %s: %d %s", method, path, body, w.Code, w.Body)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatal(err)
	}
}

func addWebhook(t *testing.T, s *managetest.Server, app, body string) manage.IssuedWebhook {
	t.Helper()
	var made manage.IssuedWebhook
	mustDo(t, s, http.StatusCreated, "POST", "/realtime/webhooks/"+app, body, &made)
	return made
}

func TestWebhookIsAddedWithDefaults(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t).ID
	for body, want := range map[string]string{
		`{"url":"https://app.example.com/hooks"}`:                                             `["channel.occupied","channel.vacated","member.joined","member.left","client_event","rejected"] true null true`,
		`{"url":"https://app.example.com/hooks","events":null,"prefix":null,"enabled":null}`:  `["channel.occupied","channel.vacated","member.joined","member.left","client_event","rejected"] true null true`,
		`{"url":"http://[::1]:80?a=b","events":["connection.opened","client_event"]}`:         `["connection.opened","client_event"] false null true`,
		`{"url":"HTTPS://a","prefix":"private-orders.","enabled":false}`:                      `["channel.occupied","channel.vacated","member.joined","member.left","client_event","rejected"] true "private-orders." false`,
		`{"url":"https://a/` + strings.Repeat("x", keystore.MaxHookURL-10) + `","prefix":""}`: `["channel.occupied","channel.vacated","member.joined","member.left","client_event","rejected"] true null true`,
	} {
		made := addWebhook(t, s, app, body)
		var sent struct{ URL string }
		_ = json.Unmarshal([]byte(body), &sent)
		events, _ := json.Marshal(made.Events)
		isDefault, _ := json.Marshal(made.DefaultEvents)
		prefix, _ := json.Marshal(made.Prefix)
		enabled, _ := json.Marshal(made.Enabled)
		if got := string(events) + " " + string(isDefault) + " " + string(prefix) + " " + string(enabled); got != want || made.URL != sent.URL {
			t.Errorf("%s makes %+v", body, made)
		}
		hook := s.MustHold(t, app).Hook(made.ID)
		if hook == nil || hook.Secret != made.Secret || made.Last4 != made.Secret[len(made.Secret)-4:] || made.State != nil || made.Problem != nil {
			t.Errorf("%s makes %+v, and keeps %+v", body, made, hook)
		}
	}
}

func TestSecretOfAWebhookIsShownOnce(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t).ID
	made := addWebhook(t, s, app, `{"url":"https://app.example.com/hooks"}`)
	path := "/realtime/webhooks/" + app
	var rotated manage.IssuedWebhook
	mustDo(t, s, http.StatusCreated, "POST", path+"/"+made.ID+"/rotate", `{"overlap":"1h"}`, &rotated)
	if rotated.Secret == made.Secret || rotated.ID != made.ID || rotated.PreviousUntil == nil || time.Until(*rotated.PreviousUntil) > time.Hour {
		t.Errorf("%+v becomes %+v", made, rotated)
	}
	for _, request := range [][3]string{{"GET", path}, {"GET", path + "/" + made.ID}, {"PATCH", path + "/" + made.ID, `{}`}, {"GET", "/realtime/apps"}, {"GET", "/realtime/apps/" + app}} {
		w := s.Do(request[0], request[1], request[2])
		if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "whsec_") {
			t.Errorf("%s: %d %s", request, w.Code, w.Body)
		}
	}
	mustDo(t, s, http.StatusCreated, "POST", path+"/"+made.ID+"/rotate", `{"overlap":"0s"}`, &rotated)
	if hook := s.MustHold(t, app).Hook(made.ID); rotated.PreviousUntil != nil || hook.Previous != "" || hook.Secret != rotated.Secret {
		t.Errorf("without an overlap: %+v, stored %+v", rotated, hook)
	}
}

func TestWebhookIsChangedInWhatThePatchNames(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t).ID
	made := addWebhook(t, s, app, `{"url":"https://a/1","events":["rejected"],"prefix":"a"}`)
	want := *s.MustHold(t, app).Hook(made.ID)
	for _, c := range []struct {
		patch  string
		change func()
	}{
		{`{}`, func() {}},
		{`{"url":null,"enabled":null}`, func() {}},
		{`{"enabled":false}`, func() { want.Enabled = false }},
		{`{"url":"https://a/2"}`, func() { want.URL = "https://a/2" }},
		{`{"events":["client_event","rejected"]}`, func() { want.Events = []string{"client_event", "rejected"} }},
		{`{"events":null,"prefix":null}`, func() { want.Events, want.Prefix = nil, "" }},
		{`{"prefix":"b.","enabled":true}`, func() { want.Prefix, want.Enabled = "b.", true }},
	} {
		c.change()
		mustDo(t, s, http.StatusOK, "PATCH", "/realtime/webhooks/"+app+"/"+made.ID, c.patch, nil)
		got := s.MustHold(t, app)
		if wanted := (&keystore.App{Hooks: []keystore.Hook{want}}); managetest.StoredText(t, &keystore.App{Hooks: got.Hooks}) != managetest.StoredText(t, wanted) {
			t.Errorf("%s leaves %+v, want %+v", c.patch, got.Hooks, want)
		}
	}
	var shown manage.Webhook
	if _, err := s.Gateway.Registry.DisableHook(app, want, "410 Gone on 2026-11-28"); err != nil {
		t.Fatal(err)
	}
	mustDo(t, s, http.StatusOK, "GET", "/realtime/webhooks/"+app+"/"+made.ID, "", &shown)
	if shown.Enabled || shown.Problem == nil || *shown.Problem != "410 Gone on 2026-11-28" {
		t.Errorf("%+v", shown)
	}
	var enabled manage.Webhook
	mustDo(t, s, http.StatusOK, "PATCH", "/realtime/webhooks/"+app+"/"+made.ID, `{"enabled":true}`, &enabled)
	if !enabled.Enabled || enabled.Problem != nil {
		t.Errorf("%+v", enabled)
	}

	mustDo(t, s, http.StatusNoContent, "DELETE", "/realtime/webhooks/"+app+"/"+made.ID, "", nil)
	if hooks := s.MustHold(t, app).Hooks; hooks != nil {
		t.Errorf("after removal: %+v", hooks)
	}
}

func TestWebhookThatCannotBeMeantIsRefusedWithTheCure(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t).ID
	made := addWebhook(t, s, app, `{"url":"https://app.example.com/hooks"}`)
	before := s.MustHold(t, app)
	for body, says := range map[string]string{
		`[]`:                              `The body must be an object, not a list.`,
		`{"url":5}`:                       `url must be a string, not a number.`,
		`{"url":""}`:                      `url is "". It begins with https:// or http:// and a host: {"url":"https://app.example.com/hooks"}.`,
		`{"url":"app.example.com/hooks"}`: `It begins with https:// or http:// and a host`,
		`{"url":"//app.example.com"}`:     `It begins with https:// or http://`,
		`{"url":"ftp://a"}`:               `It begins with https:// or http://`,
		`{"url":"file:///etc/passwd"}`:    `It begins with https:// or http://`,
		`{"url":"https:a"}`:               `It begins with https:// or http://`,
		`{"url":"https:///hooks"}`:        `It begins with https:// or http:// and a host`,
		`{"url":"https://:443/"}`:         `It begins with https:// or http:// and a host`,
		`{"url":"https://u@a"}`:           `url has a user or a password, which would be stored and shown`,
		`{"url":"https://u:p@a"}`:         `url has a user or a password`,
		`{"url":"https://a#x"}`:           `url has a fragment, which is not sent. Remove it`,
		`{"url":"https://a/#"}`:           `url has a fragment`,
		`{"url":"https://a:0/"}`:          `url has the port "0". It is a number from 1 to 65535, or absent.`,
		`{"url":"https://a:65536/"}`:      `url has the port "65536".`,
		`{"url":"https://a:/"}`:           `url has the port "".`,
		`{"url":"https://a:x/"}`:          `which is not a URL`,
		`{"url":"https://a/%zz"}`:         `which is not a URL`,
		`{"url":"https://[::1/"}`:         `which is not a URL`,
		`{"url":"https://a/ b"}`:          `url has a space, or a character that is not ASCII, at byte 11. Percent-encode it`,
		`{"url":" https://a"}`:            `at byte 1.`,
		`{"url":"https://ä"}`:             `at byte 9.`,
		`{"url":"https://a/\u0000"}`:      `at byte 11.`,
		`{"url":"https://a/?key=pk_live_ExampleExampleExampleExample2345"}`:       `url contains a key, which would be stored and shown in plain text.`,
		`{"url":"https://a/` + strings.Repeat("x", keystore.MaxHookURL-9) + `"}`:  `url has 2049 bytes; at most 2048 are allowed.`,
		`{"url":"https://a","events":"rejected"}`:                                 `events is a string. Send a list: ["channel.occupied","channel.vacated"], or null for all but`,
		`{"url":"https://a","events":{}}`:                                         `events is an object. Send a list`,
		`{"url":"https://a","events":[]}`:                                         `events is empty, so the webhook would never be called. Send null`,
		`{"url":"https://a","events":["channel_occupied"]}`:                       `events[0] is "channel_occupied". The events are channel.occupied, channel.vacated, member.joined`,
		`{"url":"https://a","events":["rejected","*"]}`:                           `events[1] is "*". The events are`,
		`{"url":"https://a","events":[null]}`:                                     `events[0] is "null". The events are`,
		`{"url":"https://a","events":["rejected","rejected"]}`:                    `events[1] is rejected, which is in the list already. Remove it.`,
		`{"url":"https://a","prefix":5}`:                                          `prefix is a number. Send what the names of the channels begin with: "orders.", or null`,
		`{"url":"https://a","prefix":["a"]}`:                                      `prefix is an array.`,
		`{"url":"https://a","prefix":"orders.*"}`:                                 `prefix is "orders.*". Send it without the *: "orders.".`,
		`{"url":"https://a","prefix":"a b"}`:                                      `prefix is "a b", with which no channel begins. The channel's name has ' ' at character 2.`,
		`{"url":"https://a","prefix":"` + strings.Repeat("a", 201) + `"}`:         `has 201 characters`,
		`{"url":"https://a","prefix":"pk_live_ExampleExampleExampleExample2345"}`: `prefix contains a key`,
		`{"url":"https://a","enabled":"yes"}`:                                     `enabled must be true or false, not a string.`,
		`{"url":"https://a","secret":"whsec_AAAA"}`:                               `Unknown field "secret".`,
		`{"url":"https://a","url":"https://b"}`:                                   `url`,
	} {
		for _, request := range [][2]string{{"POST", "/realtime/webhooks/" + app}, {"PATCH", "/realtime/webhooks/" + app + "/" + made.ID}} {
			w := s.Do(request[0], request[1], body)
			var answer struct {
				Error struct{ Code, Message string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusBadRequest || answer.Error.Code != "invalid_request" || !strings.Contains(answer.Error.Message, says) {
				t.Errorf("%s %s: %d %s, want %s", request[0], body, w.Code, w.Body, says)
			}
		}
	}
	for _, c := range [][3]string{
		{"POST", "/realtime/webhooks/" + app, `{}`},
		{"POST", "/realtime/webhooks/" + app, `{"url":null}`},
		{"POST", "/realtime/webhooks/" + app + "/" + made.ID + "/rotate", `{"overlap":"-1s"}`},
		{"POST", "/realtime/webhooks/" + app + "/" + made.ID + "/rotate", `{"overlap":"367d"}`},
		{"POST", "/realtime/webhooks/" + app + "/" + made.ID + "/rotate", `{}`},
	} {
		if w := s.Do(c[0], c[1], c[2]); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", c, w.Code, w.Body)
		}
	}
	if now := s.MustHold(t, app); now != before {
		t.Errorf("a refusal leaves %+v", now.Hooks)
	}
}

func TestAppHasNoMoreWebhooksThanAllowed(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t).ID
	for range keystore.MaxHooks {
		addWebhook(t, s, app, `{"url":"https://a"}`)
	}
	w := s.Do("POST", "/realtime/webhooks/"+app, `{"url":"https://a"}`)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "the app has 10 webhooks, which is the maximum. Remove one") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var list struct{ Webhooks []manage.Webhook }
	mustDo(t, s, http.StatusOK, "GET", "/realtime/webhooks/"+app, "", &list)
	if len(list.Webhooks) != keystore.MaxHooks {
		t.Errorf("%+v", list)
	}
}

func TestWebhookOfAnotherAppIsNotFound(t *testing.T) {
	s := managetest.New(t)
	app, other := s.Create(t).ID, s.Create(t).ID
	made := addWebhook(t, s, app, `{"url":"https://a"}`)
	for path, says := range map[string]string{
		"/realtime/webhooks/" + other + "/" + made.ID: `The app has no webhook`,
		"/realtime/webhooks/app_none/" + made.ID:      `No app`,
		"/realtime/webhooks/" + app + "/hook_none":    `GET /realtime/webhooks/` + app + ` lists them by their ids.`,
	} {
		for _, request := range [][3]string{{"GET", path}, {"PATCH", path, `{"enabled":false}`}, {"DELETE", path}, {"POST", path + "/rotate", `{"overlap":"0s"}`}} {
			if w := s.Do(request[0], request[1], request[2]); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), says) {
				t.Errorf("%s: %d %s", request, w.Code, w.Body)
			}
		}
	}
	if hook := s.MustHold(t, app).Hook(made.ID); hook == nil || !hook.Enabled || hook.Secret != made.Secret {
		t.Errorf("%+v", hook)
	}
}

func TestURLThatTheGatewayMustNotCallIsRefused(t *testing.T) {
	s := managetest.New(t)
	var asked []string
	s.Gateway.CheckHookURL = func(url string) error {
		asked = append(asked, url)
		switch url {
		case "https://private.example":
			return errors.New("its address 10.0.0.7 is private")
		case "https://refused.example":
			return apierr.InvalidRequest("This one never.")
		}
		return nil
	}
	app := s.Create(t).ID
	made := addWebhook(t, s, app, `{"url":"https://a"}`)
	path := "/realtime/webhooks/" + app
	for _, request := range [][3]string{
		{`{"url":"https://private.example"}`, "url cannot be used: its address 10.0.0.7 is private."},
		{`{"url":"https://refused.example"}`, "This one never."},
	} {
		for _, w := range []string{s.Do("POST", path, request[0]).Body.String(), s.Do("PATCH", path+"/"+made.ID, request[0]).Body.String()} {
			if !strings.Contains(w, request[1]) {
				t.Errorf("%s: %s", request[0], w)
			}
		}
	}
	mustDo(t, s, http.StatusOK, "PATCH", path+"/"+made.ID, `{"enabled":false}`, nil)
	s.Do("POST", path, `{"url":"ftp://a"}`)
	want := []string{"https://a", "https://private.example", "https://private.example", "https://refused.example", "https://refused.example"}
	if !slices.Equal(asked, want) {
		t.Errorf("it was asked about %v", asked)
	}
	if hooks := s.MustHold(t, app).Hooks; len(hooks) != 1 || hooks[0].URL != "https://a" {
		t.Errorf("%+v", hooks)
	}
}

// deliveries is a delivering gateway that knows one webhook.
type deliveries struct {
	hook    string
	state   manage.HookState
	testing func(app, hook string) error
}

func (d deliveries) State(_, hook string) (manage.HookState, bool) { return d.state, hook == d.hook }

func (d deliveries) Test(app, hook string) error { return d.testing(app, hook) }

func TestWebhookIsShownWithHowDeliveriesStand(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t).ID
	known, unknown := addWebhook(t, s, app, `{"url":"https://a"}`), addWebhook(t, s, app, `{"url":"https://b"}`)
	at := time.Date(2026, 11, 25, 15, 0, 0, 0, time.FixedZone("", 5*3600+1800))
	s.Gateway.Webhooks = deliveries{hook: known.ID, state: manage.HookState{Waiting: 3, Dropped: 2, FailingSince: at, Last: []manage.Delivery{
		{ID: "msg_1", Time: at, Events: 3, Attempt: 2, Error: "no answer within 5s", Took: 5 * time.Second},
		{ID: "msg_0", Time: at, Events: 1, Attempt: 1, Status: 204, Took: 1500 * time.Microsecond},
	}}}
	const want = `"state":{"waiting":3,"dropped":2,"failing_since":"2026-11-25T09:30:00Z","next_attempt":null,"last":[` +
		`{"id":"msg_1","time":"2026-11-25T09:30:00Z","events":3,"attempt":2,"status":null,"error":"no answer within 5s","milliseconds":5000},` +
		`{"id":"msg_0","time":"2026-11-25T09:30:00Z","events":1,"attempt":1,"status":204,"error":null,"milliseconds":1.5}]}`
	shown := s.Do("GET", "/realtime/webhooks/"+app+"/"+known.ID, "").Body.String()
	if !strings.Contains(shown, want) {
		t.Errorf("%s", shown)
	}
	if shown := s.Do("GET", "/realtime/webhooks/"+app+"/"+unknown.ID, "").Body.String(); strings.Contains(shown, "state") {
		t.Errorf("%s", shown)
	}
	if list := s.Do("GET", "/realtime/webhooks/"+app, "").Body.String(); strings.Count(list, `"state"`) != 1 {
		t.Errorf("%s", list)
	}
}

func TestTestEventIsSentToTheWebhook(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t).ID
	made := addWebhook(t, s, app, `{"url":"https://a","enabled":false}`)
	path := "/realtime/webhooks/" + app
	if w := s.Do("POST", path+"/"+made.ID+"/test", ""); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "have not started. Try again.") {
		t.Errorf("before deliveries start: %d %s", w.Code, w.Body)
	}
	var tested []string
	var fails error
	s.Gateway.Webhooks = deliveries{testing: func(app, hook string) error {
		tested = append(tested, app+" "+hook)
		return fails
	}}
	if w := s.Do("POST", path+"/"+made.ID+"/test", ""); w.Code != http.StatusAccepted || w.Body.Len() != 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	fails = apierr.Unavailable("The queue is full.", time.Second)
	if w := s.Do("POST", path+"/"+made.ID+"/test", ""); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "The queue is full.") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, other := range []string{path + "/hook_none/test", "/realtime/webhooks/app_none/" + made.ID + "/test"} {
		if w := s.Do("POST", other, ""); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d %s", other, w.Code, w.Body)
		}
	}
	if want := app + " " + made.ID; len(tested) != 2 || tested[0] != want || tested[1] != want {
		t.Errorf("tested %v", tested)
	}
}
