package portal

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

const receiver = "https://app.example.com/hooks"

// newSecret returns the secret on a page that shows one.
func newSecret(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	found := regexp.MustCompile(`<code id="new-secret">(whsec_[A-Za-z0-9&#;/=+]+)</code>`).FindStringSubmatch(w.Body.String())
	if w.Code != http.StatusCreated || found == nil {
		t.Fatalf("%d, without a secret: %s", w.Code, w.Body)
	}
	return strings.ReplaceAll(found[1], "&#43;", "+")
}

func TestWebhooksAreChangedByForms(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	page := "app/" + app.ID + "/webhooks"
	hook := func() keystore.Hook {
		hooks := s.MustHold(t, app.ID).Hooks
		if len(hooks) != 1 {
			t.Fatalf("%+v", hooks)
		}
		return hooks[0]
	}

	secret := newSecret(t, s.send(page, form("do", "add", "url", " "+receiver+" ", "which", "default", "event", "rejected", "enabled", "on")))
	h := hook()
	if h.URL != receiver || h.Events != nil || h.Prefix != "" || !h.Enabled || h.Secret != secret {
		t.Errorf("%+v", h)
	}
	for _, path := range []string{page, "app/" + app.ID} {
		if body := s.get(path).Body.String(); strings.Contains(body, "whsec_") || !strings.Contains(body, app.Name) {
			t.Errorf("%s: %s", path, body)
		}
	}

	for _, c := range []struct {
		form, done string
		want       func(keystore.Hook) bool
	}{
		{form("do", "save", "hook", h.ID, "url", receiver+"/2", "which", "chosen", "event", "connection.opened", "event", "rejected", "prefix", "orders."), "save", func(h keystore.Hook) bool {
			return h.URL == receiver+"/2" && strings.Join(h.Events, " ") == "connection.opened rejected" && h.Prefix == "orders." && h.Enabled
		}},
		{form("do", "pause", "hook", h.ID), "pause", func(h keystore.Hook) bool { return !h.Enabled && h.Prefix == "orders." }},
		{form("do", "save", "hook", h.ID, "url", receiver, "which", "default", "event", "rejected", "prefix", ""), "save", func(h keystore.Hook) bool {
			return h.URL == receiver && h.Events == nil && h.Prefix == "" && !h.Enabled
		}},
		{form("do", "resume", "hook", h.ID), "resume", func(h keystore.Hook) bool { return h.Enabled && h.URL == receiver }},
	} {
		w := s.send(page, c.form)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "../../app/"+app.ID+"/webhooks?done="+c.done || !c.want(hook()) {
			t.Errorf("%s: %d %s, %+v", c.form, w.Code, w.Header(), hook())
		}
		if notice := hookNotices()[c.done]; notice == "" || !strings.Contains(s.get(page+"?done="+c.done).Body.String(), notice) {
			t.Errorf("%s is not told", c.done)
		}
	}

	w := s.send(page, form("do", "rotate", "hook", h.ID, "overlap", "24h"))
	if next := newSecret(t, w); next == secret || hook().Secret != next || hook().Previous != secret || !strings.Contains(w.Body.String(), "The old secret also signs until ") {
		t.Errorf("%+v: %s", hook(), w.Body)
	}
	w = s.send(page, form("do", "rotate", "hook", h.ID, "overlap", "0s"))
	if now := hook(); newSecret(t, w) != now.Secret || len(now.Secrets(time.Now())) != 1 || !strings.Contains(w.Body.String(), "The old secret no longer signs.") {
		t.Errorf("%+v: %s", hook(), w.Body)
	}
	if w := s.send(page, form("do", "remove", "hook", h.ID)); w.Code != http.StatusSeeOther || len(s.MustHold(t, app.ID).Hooks) != 0 {
		t.Errorf("%d, %+v", w.Code, s.MustHold(t, app.ID).Hooks)
	}
	for _, do := range []string{"save", "pause", "resume", "test", "rotate", "remove"} { // somebody else was faster
		if w := s.send(page, form("do", do, "hook", h.ID, "url", receiver, "overlap", "1h")); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "The app has no webhook") {
			t.Errorf("%s: %d", do, w.Code)
		}
	}
}

func TestWebhookFormsAreRefusedNextToTheFieldAndKeepWhatWasTyped(t *testing.T) {
	s := newPortalServer(t)
	s.Gateway.CheckHookURL = func(url string) error {
		if strings.Contains(url, "10.0.0.1") {
			return apierr.InvalidRequest("url cannot be used: it is private.")
		}
		return nil
	}
	app := s.Create(t)
	page := "app/" + app.ID + "/webhooks"
	newSecret(t, s.send(page, form("do", "add", "url", receiver, "enabled", "on")))
	id := s.MustHold(t, app.ID).Hooks[0].ID
	for _, c := range []struct {
		field, want string
		form        []string
	}{
		{"url", "It begins with https:// or http:// and a host", []string{"url", ""}},
		{"url", "It begins with https:// or http:// and a host", []string{"url", "ftp://a"}},
		{"url", "url has a user or a password", []string{"url", "https://a:b@c"}},
		{"url", "it is private", []string{"url", "http://10.0.0.1/"}},
		{"url", "contains a key", []string{"url", "https://a/sub_live_0123456789abcdef0123456789abcdef"}},
		{"url", "url has a space", []string{"url", hostile}},
		{"events", "events is empty", []string{"url", receiver, "which", "chosen", "event", "test"}},
		{"prefix", "Send it without the *", []string{"url", receiver, "prefix", "orders.*"}},
		{"prefix", "with which no channel begins", []string{"url", receiver, "prefix", hostile}},
	} {
		for do, open := range map[string]string{"add": `<form method="post" action="../../app/`, "save": `<details open><summary>Edit`} {
			w := s.send(page, form(append([]string{"do", do, "hook", id}, c.form...)...))
			body := w.Body.String()
			wrong := `role="alert" id="wrong-` + c.field + `">`
			_, said, found := strings.Cut(body, wrong)
			if w.Code != http.StatusBadRequest || !found || !strings.Contains(strings.SplitN(said, "</p>", 2)[0], c.want) || strings.Count(body, `role="alert"`) != 1 || !strings.Contains(body, open) {
				t.Errorf("%s %s: %d, without %q at %s", do, c.form, w.Code, c.want, c.field)
			}
			if !strings.Contains(body, `aria-invalid="true" aria-describedby="wrong-`+c.field+`"`) || strings.Contains(body, "<script>") || strings.Contains(body, "<b ") {
				t.Errorf("%s %s: %s", do, c.form, body)
			}
		}
	}
	w := s.send(page, form("do", "save", "hook", id, "url", "none", "which", "chosen", "event", "client_event", "prefix", hostile))
	for _, kept := range []string{`value="none"`, `value="chosen" selected`, `value="client_event" checked`, `value="&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;`} {
		if !strings.Contains(w.Body.String(), kept) {
			t.Errorf("without %s", kept)
		}
	}
	for _, f := range []string{form("do", "rotate", "hook", id, "overlap", hostile), form("do", "rotate", "hook", id), form("do", hostile), "", form("do", "publish")} {
		if w := s.send(page, f); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `role="alert"`) || strings.Contains(w.Body.String(), "<script>") {
			t.Errorf("%s: %d", f, w.Code)
		}
	}
	if h := s.MustHold(t, app.ID).Hooks; len(h) != 1 || h[0].URL != receiver || h[0].Previous != "" {
		t.Errorf("a refused form left %+v", h)
	}
}

func TestAWebhookFormThatIsSentAgainMakesNoSecret(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	page := "app/" + app.ID + "/webhooks"
	again := func(f string) {
		t.Helper()
		if w := s.send(page, f); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "../../app/"+app.ID+"/webhooks?done=again" {
			t.Errorf("%s: %d %s", f, w.Code, w.Header())
		}
	}
	id := s.Gateway.Forms.ID()
	add := form("do", "add", "form", id, "url", receiver)
	newSecret(t, s.send(page, add))
	again(add)
	newSecret(t, s.send(page, form("do", "add", "form", s.Gateway.Forms.ID(), "url", receiver)))
	for _, h := range s.MustHold(t, app.ID).Hooks { // a page has one form id for all its webhooks
		rotate := form("do", "rotate", "form", id, "hook", h.ID, "overlap", "1h")
		secret := newSecret(t, s.send(page, rotate))
		again(rotate)
		if s.MustHold(t, app.ID).Hook(h.ID).Secret != secret {
			t.Error("the secret was rotated twice")
		}
	}
	if n := len(s.MustHold(t, app.ID).Hooks); n != 2 {
		t.Errorf("%d webhooks", n)
	}
}

func TestPortalOffersNoMoreWebhooksThanAnAppCanHave(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	page := "app/" + app.ID + "/webhooks"
	for range keystore.MaxHooks {
		newSecret(t, s.send(page, form("do", "add", "url", receiver, "enabled", "on")))
	}
	if body := s.get(page).Body.String(); strings.Contains(body, `value="add"`) || !strings.Contains(body, "An app has at most 10 webhooks.") {
		t.Error(body)
	}
	if w := s.send(page, form("do", "add", "url", receiver)); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "Remove one that is not used") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// deliveries implements manage.Webhooks.
type deliveries struct {
	state  manage.HookState
	onTest func(*manage.HookState)
}

func (d *deliveries) State(string, string) (manage.HookState, bool) { return d.state, true }

func (d *deliveries) Test(string, string) error {
	d.onTest(&d.state)
	return nil
}

func TestPortalShowsHowDeliveriesStand(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	page := "app/" + app.ID + "/webhooks"
	newSecret(t, s.send(page, form("do", "add", "url", receiver, "enabled", "on")))
	if body := s.get(page).Body.String(); !strings.Contains(body, "<td>nothing</td>") || strings.Contains(body, "Waiting events") {
		t.Errorf("without deliveries: %s", body)
	}
	at := time.Date(2026, 11, 28, 5, 0, 0, 0, time.UTC)
	s.Gateway.Webhooks = &deliveries{state: manage.HookState{
		Waiting: 12, Dropped: 3, FailingSince: at, NextAttempt: at.Add(time.Minute),
		Last: []manage.Delivery{
			{ID: "msg_3", Time: at.Add(2 * time.Second), Events: 2, Attempt: 2, Status: 503, Error: "the answer is 503 " + hostile, Took: 1234567},
			{ID: "msg_3", Time: at.Add(time.Second), Events: 2, Attempt: 1, Error: "no answer"},
			{ID: "msg_2", Time: at.Add(-time.Minute), Events: 1, Attempt: 1, Status: 204},
		},
	}}
	body := s.get(page).Body.String()
	for _, want := range []string{
		`failing since <time datetime="2026-11-28T05:00:00Z">2026-11-28 05:00:00 UTC</time>`,
		`<th scope="row">Last received</th><td><time datetime="2026-11-28T04:59:00Z">`,
		`<th scope="row">Last failure</th><td><time datetime="2026-11-28T05:00:02Z">2026-11-28 05:00:02 UTC</time>: the answer is 503 &#34;`,
		`<td>12, next attempt at <time datetime="2026-11-28T05:01:00Z">`,
		`<th scope="row">Dropped events</th><td>3</td>`,
		`<td data-label="Status">no answer</td>`, `<td data-label="Took">1.2ms</td>`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("without %s", want)
		}
	}
	if strings.Contains(body, "<script>") || strings.Contains(body, "<b ") {
		t.Error(body)
	}
}

func TestPortalShowsHowATestEventWasReceived(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	page := "app/" + app.ID + "/webhooks"
	newSecret(t, s.send(page, form("do", "add", "url", receiver, "enabled", "on")))
	id := s.MustHold(t, app.ID).Hooks[0].ID
	earlier := manage.Delivery{ID: "msg_0", Time: time.Now(), Events: 1, Attempt: 1, Status: 204}
	for want, d := range map[string]manage.Delivery{
		"The test event was received, in 2ms.":                {ID: "msg_1", Events: 1, Attempt: 1, Status: 204, Took: 2 * time.Millisecond},
		"The test event was not received: the answer is 500.": {ID: "msg_1", Events: 1, Attempt: 1, Status: 500, Error: "the answer is 500"},
	} {
		s.Gateway.Webhooks = &deliveries{state: manage.HookState{Last: []manage.Delivery{earlier}}, onTest: func(state *manage.HookState) {
			d.Time = time.Now()
			state.Last = []manage.Delivery{d, earlier}
		}}
		w := s.send(page, form("do", "test", "hook", id))
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) || !strings.Contains(w.Body.String(), "<details open><summary>Latest deliveries") {
			t.Errorf("%d without %q: %s", w.Code, want, w.Body)
		}
	}

	// A receiver that has not answered, and a server that exits.
	s.Gateway.Webhooks = &deliveries{state: manage.HookState{Last: []manage.Delivery{earlier}}, onTest: func(*manage.HookState) {}}
	ending := make(chan struct{})
	close(ending)
	r := httptest.NewRequest(http.MethodPost, "/realtime/"+page, strings.NewReader(form("do", "test", "hook", id)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	s.portal.Serve(w, r, Visit{Gateway: func() (*manage.Gateway, error) { return s.Gateway, nil }, Path: page, Ending: ending})
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "the receiver has not answered within 8s") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
