package portal

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// form is what a browser sends: pairs of names and values.
func form(pairs ...string) string {
	values := make(url.Values)
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return values.Encode()
}

func TestRulesAreChangedByForms(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	for _, c := range []struct{ form, want string }{
		{form("do", "rule-save", "match", " orders.* ", "access", "token", "presence", "on", "history", "007", "history_age", "1m"), "private-* presence-* orders.*"},
		{form("do", "rule-save", "match", "orders.open", "access", "open", "client_events", "on"), "private-* presence-* orders.open orders.*"},
		{form("do", "rule-save", "rule", "private-*", "match", "secret-*", "access", "closed"), "secret-* presence-* orders.open orders.*"},
		{form("do", "rule-up", "rule", "orders.*"), "secret-* presence-* orders.* orders.open"},
		{form("do", "rule-up", "rule", "secret-*"), "secret-* presence-* orders.* orders.open"},
		{form("do", "rule-down", "rule", "secret-*"), "presence-* secret-* orders.* orders.open"},
		{form("do", "rule-remove", "rule", "presence-*"), "secret-* orders.* orders.open"},
	} {
		w := s.send("app/"+app.ID, c.form)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "../app/"+app.ID+"?done=rules#rules" {
			t.Fatalf("%s: %d %s", c.form, w.Code, w.Header())
		}
		var got []string
		for _, r := range s.MustHold(t, app.ID).Rules {
			got = append(got, r.Match)
		}
		if strings.Join(got, " ") != c.want {
			t.Fatalf("%s leaves %s", c.form, got)
		}
	}
	rules := s.MustHold(t, app.ID).Rules
	if r := rules[1]; r.Access != keystore.AccessToken || !r.Presence || r.ClientEvents || *r.History != (keystore.History{Messages: 7, Age: time.Minute}) {
		t.Errorf("%+v", r)
	}
	if r := rules[2]; r.Access != keystore.AccessOpen || r.Presence || !r.ClientEvents || r.History != nil {
		t.Errorf("%+v", r)
	}
	if w := s.send("app/"+app.ID, form("do", "rule-reset")); w.Code != http.StatusSeeOther || s.MustHold(t, app.ID).Rules != nil {
		t.Errorf("%d, %+v", w.Code, s.MustHold(t, app.ID).Rules)
	}
}

func TestRuleFormsAreRefusedWithAReasonAndKeepWhatWasTyped(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	for _, c := range []struct{ form, want string }{
		{form("do", "rule-save", "match", "a b*", "access", "open"), "which no channel can be"},
		{form("do", "rule-save", "match", "", "access", "open"), "It must be a channel&#39;s name"},
		{form("do", "rule-save", "match", "private-*", "access", "open"), "Edit that one."},
		{form("do", "rule-save", "match", "presence-*", "access", "open", "rule", "private-*"), "Edit that one."},
		{form("do", "rule-save", "match", "a", "access", "all"), "It must be &#34;open&#34;"},
		{form("do", "rule-save", "match", "a", "access", "open", "history", "many"), "must be a whole number"},
		{form("do", "rule-save", "match", "a", "access", "open", "history", "5"), "age is a duration"},
		{form("do", "rule-save", "match", "a", "access", "open", "rule", "gone"), "It may have been removed."},
		{form("do", "rule-remove", "rule", "gone"), "It may have been removed."},
		{form("do", "rule-up"), "It may have been removed."},
		{form("do", "rule-save", "match", "sub_live_0123456789abcdef0123456789abcdef", "access", "open"), "contains a key"},
		{form("do", "rule-left"), "does not say what to do"},
	} {
		w := s.send("app/"+app.ID, c.form)
		if body := w.Body.String(); w.Code != http.StatusBadRequest || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d, without %q", c.form, w.Code, c.want)
		}
	}
	w := s.send("app/"+app.ID, form("do", "rule-save", "match", hostile, "access", "closed", "history", hostile, "rule", "presence-*", "client_events", "on"))
	body := w.Body.String()
	for _, kept := range []string{`value="&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;`, `<details open><summary>Edit<span class="hidden"> presence-*`, `value="closed" selected`} {
		if !strings.Contains(body, kept) {
			t.Errorf("without %s", kept)
		}
	}
	if strings.Count(body, "<details open") != 1 || strings.Contains(body, "<script>") {
		t.Error(body)
	}
	if s.MustHold(t, app.ID).Rules != nil {
		t.Error("a refused form changed the rules")
	}
	seen := form("do", "rule-remove", "rule", "private-*", "etag", manage.ETag(app))
	s.send("app/"+app.ID, form("do", "save", "name", "renamed", "enabled", "on"))
	if w := s.send("app/"+app.ID, seen); w.Code != http.StatusPreconditionFailed {
		t.Errorf("a form of an earlier version: %d", w.Code)
	}
}

func TestPortalSaysWhichRuleAChannelGets(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	for _, f := range []string{
		form("do", "rule-save", "match", "room.*", "access", "token", "presence", "on", "client_events", "on", "history", "0"),
		form("do", "rule-save", "match", "news", "access", "open", "client_events", "on", "history", "5", "history_age", "10m"),
		form("do", "rule-save", "match", "old.*", "access", "closed", "presence", "on"),
	} {
		if w := s.send("app/"+app.ID, f); w.Code != http.StatusSeeOther {
			t.Fatalf("%s: %d", f, w.Code)
		}
	}
	for channel, want := range map[string]string{
		"private-a": "<code>private-a</code> gets rule 1, <code>private-*</code>. Clients with a token that lists the channel may subscribe. It keeps as many messages as the app&#39;s settings say.",
		"room.1":    "<code>room.1</code> gets rule 3, <code>room.*</code>. Clients with a token that lists the channel may subscribe. Subscribers see which users are there. Subscribers may send each other events if their token allows it. It keeps no messages.",
		"news":      "<code>news</code> gets rule 4, <code>news</code>. Anyone who may connect may subscribe. Subscribers may send each other events. It keeps 5 messages for 10m.",
		"old.1":     "<code>old.1</code> gets rule 5, <code>old.*</code>. Nobody may subscribe. It keeps",
		"news2":     "No rule matches <code>news2</code>, so it is open. Anyone who may connect may subscribe.",
		hostile:     `<p class="refusal" role="status">The channel&#39;s name has `,
	} {
		w := s.get("app/" + app.ID + "?rule=" + url.QueryEscape(channel))
		if body := w.Body.String(); !strings.Contains(body, want) || strings.Contains(body, "<script>") {
			_, found, _ := strings.Cut(body, "Show its rule")
			t.Errorf("%s: %.600s", channel, found)
		}
	}
}
