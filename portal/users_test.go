package portal

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/presence"
)

// strange are user ids that some application has.
func strange() []string {
	return []string{"a/b", "a%2Fb", "../..", "?a=b&user=c", "#", `"'`, hostile, "ä 日本 🙂", strings.Repeat("日", message.MaxUser), "+", " a ", `\`, "."}
}

func TestPortalFindsAUserOfAnyId(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	for _, user := range strange() {
		path := "app/" + app.ID + "/users?user=" + url.QueryEscape(user)
		w := s.get(path)
		if body := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(body, "<p>0 sockets.</p>") || strings.Contains(body, "<script>") || strings.Contains(body, "<b ") {
			t.Errorf("%q: %d %s", user, w.Code, body)
		}
		w = s.send("app/"+app.ID+"/users", form("do", "disconnect", "user", user))
		to := "../../app/" + app.ID + "/users?user=" + url.QueryEscape(user)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != to+"&done=away" {
			t.Errorf("%q, who has left: %d %s", user, w.Code, w.Header())
		}
	}
	for user, why := range map[string]string{
		strings.Repeat("u", 200): "has 200 characters; at most 128 are allowed",
		"a\nb":                   "Allowed are printable characters.",
		"\xff":                   "is not valid Unicode",
		"\u202ea":                "Allowed are printable characters.",
	} {
		for _, w := range []*httptest.ResponseRecorder{
			s.get("app/" + app.ID + "/users?user=" + url.QueryEscape(user)),
			s.send("app/"+app.ID+"/users", form("do", "revoke", "user", user)),
		} {
			if body := w.Body.String(); w.Code != http.StatusBadRequest || !strings.Contains(body, `role="alert" id="wrong-user">user `) || !strings.Contains(body, why) {
				t.Errorf("%q: %d %s", user, w.Code, body)
			}
		}
	}
	if s.MustHold(t, app.ID).RevokedUsers != nil {
		t.Error("a refused form revoked a user")
	}
}

func TestPortalSignsAUserOutEverywhere(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	page := "app/" + app.ID + "/users"
	user := `<b id=x>/"`
	before := time.Now()
	w := s.send(page, form("do", "revoke", "user", user))
	if want := "../../" + page + "?user=" + url.QueryEscape(user) + "&done=revoke"; w.Code != http.StatusSeeOther || w.Header().Get("Location") != want {
		t.Fatalf("%d %s", w.Code, w.Header())
	}
	revoked := s.MustHold(t, app.ID).RevokedUsers[user]
	if revoked.Before(before.Truncate(time.Second)) {
		t.Errorf("%v", revoked)
	}
	if time.Now().Unix() == revoked.Unix() {
		t.Error("a token that is issued now has the iat of one that is refused")
	}
	body := s.get(page + "?user=" + url.QueryEscape(user) + "&done=revoke").Body.String()
	if !strings.Contains(body, `Tokens that were issued until <time datetime="`+revoked.Format(time.RFC3339)) || !strings.Contains(body, userNotices()["revoke"]) || strings.Contains(body, "<b ") {
		t.Error(body)
	}
	for _, f := range []string{form("do", "", "user", "42"), form("user", "42"), form("do", hostile, "user", "42")} {
		if w := s.send(page, f); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "does not say what to do") {
			t.Errorf("%s: %d", f, w.Code)
		}
	}
}

func TestPortalShowsTheMembersOfAChannelByPage(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	members := presence.New(func(_, _ string, change func() (string, any, bool)) { change() }, func(string) time.Duration { return 0 })
	defer members.Close()
	s.Gateway.Presence = members
	const channel = "presence-room/1"
	page := "app/" + app.ID + "/members?channel=" + url.QueryEscape(channel)
	if body := s.get(page).Body.String(); !strings.Contains(body, "Nobody is in the channel.") || !strings.Contains(body, "0 members") {
		t.Error(body)
	}
	for _, user := range strange() {
		members.Join(app.ID, channel, user, []byte(`{"name":"<img src=x onerror=alert(1)>","of":"`+strconv.Itoa(len(user))+`"}`))
	}
	for n := range rows {
		members.Join(app.ID, channel, "user "+strconv.Itoa(n), nil)
	}
	first := s.get(page).Body.String()
	if n := strings.Count(first, `<th scope="row">`); n != rows || strings.Contains(first, "<img") || strings.Contains(first, "<script>") || !strings.Contains(first, `<code>{&#34;name&#34;:&#34;&lt;img src=x onerror=alert(1)&gt;&#34;`) {
		t.Errorf("%d members: %s", n, first)
	}
	for _, user := range strange() {
		link := `/users?user=` + strings.ReplaceAll(url.QueryEscape(user), "+", "%20") + `"`
		if !strings.Contains(strings.ToLower(first), strings.ToLower(link)) { // hex digits have both cases
			t.Errorf("no link to %q", user)
		}
	}
	last := "user " + strconv.Itoa(rows-len(strange())-1)
	if !strings.Contains(first, "&amp;after="+url.PathEscape(last)+`"`) {
		t.Fatalf("no next page after %s: %s", last, first)
	}
	second := s.get(page + "&after=" + url.QueryEscape(last)).Body.String()
	if n := strings.Count(second, `<th scope="row">`); n != len(strange()) || strings.Contains(second, "More members") {
		t.Errorf("%d members: %s", n, second)
	}
	members.Leave(app.ID, channel, last)
	members.Close() // no grace ends any more, and this one has none
	if w := s.get(page + "&after=nobody"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "The list has changed") || strings.Count(w.Body.String(), `<th scope="row">`) != rows {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for query, status := range map[string]int{"": 422, "?channel=orders": 400, "?channel=orders&after=a": 400, "?channel=" + url.QueryEscape(hostile): 422, "?channel=presence-a&user=a": 400} {
		if w := s.get("app/" + app.ID + "/members" + query); w.Code != status || strings.Contains(w.Body.String(), "<script>") {
			t.Errorf("%s: %d", query, w.Code)
		}
	}
	if w := s.send(strings.SplitN(page, "?", 2)[0], "do=x"); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("%d %s", w.Code, w.Header())
	}
}

func TestPagesOfAnAppTakeNoFormsFromOtherOrigins(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	newSecret(t, s.send("app/"+app.ID+"/webhooks", form("do", "add", "url", receiver)))
	before := s.MustHold(t, app.ID)
	hook := before.Hooks[0].ID
	for page, forms := range map[string][]string{
		"webhooks": {form("do", "add", "url", receiver), form("do", "remove", "hook", hook), form("do", "rotate", "hook", hook, "overlap", "0s"), form("do", "pause", "hook", hook), form("do", "test", "hook", hook)},
		"users":    {form("do", "revoke", "user", "42"), form("do", "disconnect", "user", "42")},
	} {
		for _, f := range forms {
			for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://attacker.example"} {
				r := httptest.NewRequest(http.MethodPost, "/realtime/app/"+app.ID+"/"+page, strings.NewReader(f))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.Header.Set(name, value)
				if w := s.visit(r); w.Code != http.StatusForbidden {
					t.Errorf("%s %s: %d", page, f, w.Code)
				}
			}
		}
	}
	if now, _ := s.Gateway.Registry.App(app.ID); now != before {
		t.Errorf("%+v", now)
	}
}

func TestPagesOfAnAppNeedTheApp(t *testing.T) {
	s := newPortalServer(t)
	for _, page := range []string{"webhooks", "users", "members?channel=presence-a"} {
		if w := s.get("app/app_gone/" + page); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), `<a href="../../">All apps</a>`) {
			t.Errorf("%s: %d %s", page, w.Code, w.Body)
		}
	}
	for _, page := range []string{"webhooks", "users"} {
		if w := s.send("app/app_gone/"+page, form("do", "remove", "user", "42")); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", page, w.Code)
		}
	}
}

// FuzzPortalPages sends forms to the pages of an app's webhooks and users. A refusal
// changes nothing, and no page has a script, or a tag, that came in the form.
func FuzzPortalPages(f *testing.F) {
	for _, seed := range []string{
		"do=add&url=https://a.example/&which=default&enabled=on", "do=add&url=%22%3E%3Cscript%3E&prefix=%3Cscript%3E", "do=add&url=https://a&which=chosen", "do=add&url=https://a&which=chosen&event=rejected&event=rejected&event=%3Cscript%3E",
		"do=save&hook=HOOK&url=https://b&prefix=orders.", "do=save&hook=HOOK&url=https://b&prefix=%3Cscript%3E", "do=save&hook=%3Cscript%3E&url=https://b", "do=pause&hook=HOOK", "do=resume&hook=HOOK", "do=remove&hook=HOOK",
		"do=rotate&hook=HOOK&overlap=1h", "do=rotate&hook=HOOK&overlap=%3Cscript%3E", "do=rotate&hook=HOOK&overlap=-1s", "do=add&form=x&url=https://a",
		"do=disconnect&user=42", "do=disconnect&user=%3Cscript%3E", "do=disconnect&user=%2F%25%22%27", "do=disconnect&user=%ff", "user=%E2%80%AE&do=disconnect", "do=%3Cscript%3E&user=a", "%zz", "",
	} {
		f.Add(seed, "webhooks")
		f.Add(seed, "users")
	}
	s := newPortalServer(f)
	f.Fuzz(func(t *testing.T, form, page string) {
		if page != "webhooks" && page != "users" || strings.Contains(form, "revoke") { // which waits for the next second
			return
		}
		app := s.Create(t)
		defer s.Delete(t, app.ID)
		hook, err := s.Gateway.Registry.AddHook(app.ID, keystore.HookSpec{URL: receiver, Enabled: true})
		if err != nil {
			t.Fatal(err)
		}
		before := s.MustHold(t, app.ID)
		w := s.send("app/"+app.ID+"/"+page, strings.ReplaceAll(form, "HOOK", hook.ID))
		body := strings.ToLower(w.Body.String())
		if w.Code != http.StatusSeeOther && !strings.HasPrefix(body, "<!doctype html>") || strings.Count(body, "<script") > 1 || strings.Contains(body, "<script>") || strings.Contains(w.Header().Get("Location"), "<") {
			t.Fatalf("%q is answered with %d %s %s", form, w.Code, w.Header(), w.Body)
		}
		after := s.MustHold(t, app.ID)
		if w.Code >= http.StatusBadRequest && after != before || w.Code >= http.StatusInternalServerError && !strings.Contains(form, "test") {
			t.Fatalf("%q is refused with %d, and left %+v", form, w.Code, after)
		}
	})
}
