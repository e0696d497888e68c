package portal

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// FuzzPortalForm sends forms to an app's page. A refusal changes nothing; what
// is said to be saved is, and can be read back from the store; and no page has
// a script, or a tag, that came in the form.
func FuzzPortalForm(f *testing.F) {
	for _, seed := range []string{
		"do=save&name=shop&enabled=on&origins=&publishes=&window=&max_connections=&max_channels=&max_body=",
		"do=save&name=+a+&origins=https://a.example%0d%0ahttps://*.b.example&publishes=600&window=1m&max_connections=1&max_channels=2&max_body=3",
		"do=save&name=a&publishes=%2b5&window=1m", "do=save&name=a&publishes=007&window=1m", "do=save&name=a&publishes=0", "do=save&name=a&publishes=-0&window=1m",
		"do=save&name=a&publishes=5", "do=save&name=a&window=1m", "do=save&name=a&max_body=%2b5", "do=save&name=a&max_channels=1e3", "do=save&name=a&max_channels=0", "do=save&name=a&max_connections_per_user=5", "do=save&name=a&max_connections_per_user=-1",
		"do=save&name=a&history=50&history_age=10m&recovery=5m", "do=save&name=a&history=0&recovery=0s", "do=save&name=a&history=5", "do=save&name=a&history_age=1m",
		"do=save&name=a&history=10001&history_age=1m", "do=save&name=a&history=%2b5&history_age=1m", "do=save&name=a&recovery=5", "do=save&name=a&recovery=-1s", "do=save&name=a&recovery=%3Cscript%3E",
		"do=save&name=a&etag=x", "do=save&name=%3Cscript%3Ealert(1)%3C/script%3E", "do=save&name=%ff", "do=save",
		"do=add-key&kind=publish&label=%3Cscript%3E&days=30", "do=add-key&kind=subscribe&days=36501", "do=add-key&kind=subscribe",
		"do=add-key&kind=sign&label=a", "do=add-key&kind=publish&scopes=publish+manage", "do=add-key&kind=publish&scopes=%3Cscript%3E", "do=add-key&kind=sign&scopes=manage", "do=add-key&kind=sign&public_key=%3Cscript%3E",
		"do=add-key&kind=sign&public_key=%7B%22kty%22:%22OKP%22,%22crv%22:%22Ed25519%22,%22x%22:%2211qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo%22%7D", "do=add-key&kind=publish&public_key=null",
		"do=rotate&key=KEY&overlap=24h", "do=rotate&key=KEY&overlap=%22%3E%3Cscript%3E", "do=revoke&key=KEY", "do=revoke&key=%3Cscript%3E",
		"do=disconnect&socket=x", "do=delete&confirm=shop", "do=delete&confirm=%3Cscript%3E", "do=publish&channel=c&event=e&data={}",
		"do=publish&channel=a%0d%0ab%0d%0a%0d%0a&event=e&data=1&history=off", "do=publish&channel=a%0aa&event=e", "do=publish&channel=a%0ab&event=e&data=%3Cscript%3E",
		"do=rule-save&match=orders.*&access=token&presence=on&client_events=on&history=5&history_age=1m", "do=rule-save&match=+a+&access=open&history=0", "do=rule-save&rule=private-*&match=b&access=closed",
		"do=rule-save&match=%22%3E%3Cscript%3E&access=%3Cscript%3E", "do=rule-save&match=a**&access=open", "do=rule-save&match=a&access=", "do=rule-save&rule=private-*&match=presence-*&access=open",
		"do=rule-up&rule=presence-*", "do=rule-down&rule=presence-*", "do=rule-remove&rule=private-*", "do=rule-remove&rule=%3Cscript%3E", "do=rule-reset", "do=rule-",
		"do=check-token&token=a.b.c", "do=check-token&token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI8c2NyaXB0PiJ9.AA&channel=private-a", "do=check-token&token=%3Cscript%3E&channel=%3Cscript%3E", "do=check-token&token=PHNjcmlwdD4.PHNjcmlwdD4.AA&channel=a",
		"do=make-token&user=42&channels=a", "do=make-token&user=%3Cscript%3E&channels=%3Cscript%3E&info=%3Cscript%3E&expires_in=%3Cscript%3E",
		"do=publish&channel=c&event=e&data=%3C/textarea%3E%3Cscript%3E", "do=%3Cscript%3E", "%zz", "",
	} {
		f.Add(seed)
	}
	s := newPortalServer(f)
	app := s.Create(f)
	f.Fuzz(func(t *testing.T, form string) {
		if now, ok := s.Gateway.Registry.App(app.ID); now != app {
			if ok {
				s.Delete(t, app.ID)
			}
			app = s.Create(t)
		}
		before := app
		form = strings.ReplaceAll(form, "KEY", before.Keys[0].ID)
		w := s.send("app/"+app.ID, form)
		page := strings.ToLower(w.Body.String())
		if w.Code != http.StatusSeeOther && !strings.HasPrefix(page, "<!doctype html>") || strings.Count(page, "<script") > 1 || strings.Contains(page, "<script>") {
			t.Fatalf("%q is answered with %d %s", form, w.Code, w.Body)
		}
		now, ok := s.Gateway.Registry.App(app.ID)
		if w.Code >= http.StatusBadRequest {
			if w.Code >= http.StatusInternalServerError || now != before {
				t.Fatalf("%q is refused with %d, and left %+v", form, w.Code, now)
			}
			return
		}
		values, err := url.ParseQuery(form)
		if err != nil {
			t.Fatalf("%q is accepted: %v", form, err)
		}
		if do := values.Get("do"); !ok {
			if do != "delete" || strings.TrimSpace(values.Get("confirm")) != before.Name {
				t.Fatalf("%q deletes the app", form)
			}
		} else {
			after := s.MustHold(t, app.ID)
			switch rules := strings.HasPrefix(do, "rule-"); {
			case do == "rule-save":
				checkRule(t, after, values)
			case !rules && after.Rules != nil:
				t.Fatalf("%q leaves the rules %+v", form, after.Rules)
			}
			if do == "save" {
				checkSaved(t, before, after, values)
			} else if after.Rate != before.Rate || after.History != before.History || after.Recovery != before.Recovery || after.Name != before.Name || after.Disabled || len(after.AllowedOrigins) > 0 {
				t.Fatalf("%q leaves %+v", form, after)
			}
		}
	})
}

// checkRule holds the rule of a channel's name or pattern to the form for it.
func checkRule(t *testing.T, after *keystore.App, form url.Values) {
	t.Helper()
	match := strings.TrimSpace(form.Get("match"))
	i := slices.IndexFunc(after.Rules, func(r keystore.Rule) bool { return r.Match == match })
	if i < 0 {
		t.Fatalf("%v leaves %+v", form, after.Rules)
	}
	r := after.Rules[i]
	if string(r.Access) != form.Get("access") || r.Presence != (form.Get("presence") == "on") || r.ClientEvents != (form.Get("client_events") == "on") || (r.History == nil) != (strings.TrimSpace(form.Get("history")) == "") {
		t.Fatalf("%v is saved as %+v", form, r)
	}
}

// checkSaved holds an app to the settings' form, which sets all of them.
func checkSaved(t *testing.T, before, after *keystore.App, form url.Values) {
	t.Helper()
	field := func(name string) string { return strings.TrimSpace(form.Get(name)) }
	number := func(name string) int64 {
		if field(name) == "" {
			return 0
		}
		n, err := strconv.ParseInt(field(name), 10, 64)
		if err != nil || n == 0 {
			t.Fatalf("%s=%q is saved", name, form.Get(name))
		}
		return n
	}
	want := *before
	want.Name, want.Disabled = field("name"), form.Get("enabled") != "on"
	want.AllowedOrigins = slices.Clip(strings.Fields(form.Get("origins")))
	want.MaxConnections, want.MaxChannels, want.MaxBody = int(number("max_connections")), int(number("max_channels")), number("max_body")
	want.MaxConnectionsPerUser = int(number("max_connections_per_user"))
	if field("publishes") != "" {
		n, err := strconv.Atoi(field("publishes"))
		if err != nil {
			t.Fatalf("publishes=%q is saved", form.Get("publishes"))
		}
		window, _ := caddy.ParseDuration(field("window"))
		want.Rate = &keystore.Rate{Limit: n, Window: window}
	}
	if field("history") != "" {
		n, err := strconv.Atoi(field("history"))
		if err != nil {
			t.Fatalf("history=%q is saved", form.Get("history"))
		}
		age, _ := caddy.ParseDuration(field("history_age"))
		want.History = &keystore.History{Messages: n, Age: age}
	}
	if field("recovery") != "" {
		d, err := caddy.ParseDuration(field("recovery"))
		if err != nil {
			t.Fatalf("recovery=%q is saved", form.Get("recovery"))
		}
		want.Recovery = &d
	}
	if managetest.StoredText(t, &want) != managetest.StoredText(t, after) {
		t.Fatalf("%q is saved as %+v, not as %+v", form, after, want)
	}
}
