package manage_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// FuzzAdmin sends bodies to the admin API. A refusal changes nothing and is
// one of ours, never a failure of the server; what is accepted is as the body
// says, within the bounds, and can be read back from the store.
func FuzzAdmin(f *testing.F) {
	const create, patch, addKey, rotate = 0, 1, 2, 3
	for _, seed := range []struct {
		what byte
		body string
	}{
		{create, `{"name":" shop "}`},
		{create, `{"name":""}`},
		{create, `{"name":"a\u0000"}`},
		{create, `{"name":"\ud800"}`},
		{create, `{"Name":"a"}`},
		{create, `null`},
		{patch, `{"name":"other","enabled":false,"rate_limit":{"publishes":5,"window":"1m"},"max_connections":1,"max_channels":2,"max_body":3,"allowed_origins":["https://a.example"]}`},
		{patch, `{"rate_limit":null,"max_connections":null,"allowed_origins":[]}`},
		{patch, `{"rate_limit":{"publishes":0}}`},
		{patch, `{"rate_limit":{"publishes":0,"window":"-5h"}}`},
		{patch, `{"rate_limit":{"window":"1m"}}`},
		{patch, `{"rate_limit":{"publishes":null,"window":"1m"}}`},
		{patch, `{"rate_limit":{"publishes":1e2,"window":"1d"}}`},
		{patch, `{"rate_limit":[]}`},
		{patch, `{"history":{"messages":5,"age":"1m"},"recovery":"10m"}`},
		{patch, `{"history":{"messages":0},"recovery":"0s"}`},
		{patch, `{"history":null,"recovery":null}`},
		{patch, `{"history":{"messages":0,"age":"-5h"}}`},
		{patch, `{"history":{"age":"1m"}}`},
		{patch, `{"history":{"messages":10001,"age":"1m"}}`},
		{patch, `{"history":{"messages":-1,"age":"1m"}}`},
		{patch, `{"history":{"messages":5,"age":"1m","events":1}}`},
		{patch, `{"history":5}`},
		{patch, `{"recovery":0}`},
		{patch, `{"recovery":"1d1ns"}`},
		{patch, `{"recovery":"-1s"}`},
		{patch, `{"recovery":""}`},
		{patch, `{"max_body":1073741825}`},
		{patch, `{"max_body":-0}`},
		{patch, `{"max_connections":0}`},
		{patch, `{"max_channels":1.0}`},
		{patch, `{"max_connections":true}`},
		{patch, `{"max_connections_per_user":2,"channels":[{"match":"orders.*","access":"token","presence":true},{"match":"a","history":{"messages":5,"age":"1m"}}]}`},
		{patch, `{"max_connections_per_user":null,"channels":null}`},
		{patch, `{"channels":[]}`},
		{patch, `{"channels":[{"match":"a*b"}]}`},
		{patch, `{"name":null,"enabled":null,"allowed_origins":null}`},
		{patch, `{"allowed_origins":[null]}`},
		{patch, `{"allowed_origins":["*","https://a"]}`},
		{patch, `{"enabled":true,"enabled":false}`},
		{patch, `{"\u0065nabled":false}`},
		{patch, `{} {}`},
		{patch, `{}`},
		{patch, `[]`},
		{addKey, `{"kind":"publish","label":"ci","expires":"2099-01-01T00:00:00Z"}`},
		{addKey, `{"kind":"subscribe"}`},
		{addKey, `{"kind":"publish","scopes":["manage"]}`},
		{addKey, `{"kind":"sign","scopes":["manage"]}`},
		{addKey, `{"kind":"sign"}`},
		{addKey, `{"kind":"sign","public_key":"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"}`},
		{addKey, `{"kind":"sign","public_key":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}`},
		{addKey, `{"kind":"sign","public_key":{"kty":"oct","k":"AAAA"}}`},
		{addKey, `{"kind":"subscribe","expires":null}`},
		{addKey, `{"kind":"publish","expires":"9999-12-31T23:59:59-23:59"}`},
		{addKey, `{"kind":"publish","expires":"0001-01-01T00:00:00Z"}`},
		{addKey, `{"kind":"publish","expires":"2001-01-01T00:00:00Z"}`},
		{addKey, `{"kind":"publish","expires":"90d"}`},
		{addKey, `{"kind":"publish","expires":"-1h"}`},
		{addKey, `{"kind":"publish","expires":"1e9d"}`},
		{addKey, `{"kind":"publish","expires":90}`},
		{addKey, `{"kind":"both"}`},
		{addKey, `{"kind":"publish","label":"\u202e"}`},
		{rotate, `{"overlap":"24h"}`},
		{rotate, `{"overlap":"0s"}`},
		{rotate, `{"overlap":"366d"}`},
		{rotate, `{"overlap":"1e9d"}`},
		{rotate, `{"overlap":"-1s"}`},
		{rotate, `{}`},
	} {
		f.Add(seed.what, []byte(seed.body))
	}
	s := managetest.New(f)
	app := s.Create(f)
	f.Fuzz(func(t *testing.T, what byte, body []byte) {
		if now, _ := s.Gateway.Registry.App(app.ID); now != app {
			s.Delete(t, app.ID)
			app = s.Create(t)
		}
		before := app
		key := before.Keys[0].ID
		var w *httptest.ResponseRecorder
		switch what %= 4; what {
		case create:
			w = s.Do("POST", "/realtime/apps", string(body))
		case patch:
			w = s.Do("PATCH", "/realtime/apps/"+app.ID, string(body))
		case addKey:
			w = s.Do("POST", "/realtime/keys/"+app.ID, string(body))
		case rotate:
			w = s.Do("POST", "/realtime/keys/"+app.ID+"/"+key+"/rotate", string(body))
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s is answered with %s", body, w.Body)
		}
		if w.Code >= http.StatusBadRequest {
			if now, ok := s.Gateway.Registry.App(app.ID); w.Code >= http.StatusInternalServerError || !ok || now != before {
				t.Fatalf("%s is refused with %d %s, and leaves %+v", body, w.Code, w.Body, now)
			}
			return
		}
		var sent map[string]any
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		if err := d.Decode(&sent); err != nil {
			t.Fatalf("%s is accepted: %v", body, err)
		}
		if what == create {
			var made struct{ ID string }
			_ = json.Unmarshal(w.Body.Bytes(), &made)
			after := s.MustHold(t, made.ID)
			if name, _ := sent["name"].(string); after.Name != strings.TrimSpace(name) || len(after.Keys) != 2 || after.Disabled {
				t.Fatalf("%s makes %+v", body, after)
			}
			s.Delete(t, made.ID)
			return
		}
		after := s.MustHold(t, app.ID)
		switch what {
		case patch:
			checkPatched(t, before, after, sent)
		case addKey:
			checkAdded(t, after, sent)
		case rotate:
			i := slices.IndexFunc(after.Keys, func(k keystore.Key) bool { return k.ID == key })
			if i < 0 || after.Keys[i].Expires.IsZero() || after.Keys[i].Expires.After(time.Now().Add(manage.MaxOverlap)) || len(after.Keys) != 3 {
				t.Fatalf("%s leaves the keys %+v", body, after.Keys)
			}
		}
	})
}

// checkPatched holds an app to the patch that was accepted.
func checkPatched(t *testing.T, before, after *keystore.App, sent map[string]any) {
	t.Helper()
	want := *before
	for name, value := range sent {
		number, _ := value.(json.Number)
		n, _ := number.Int64()
		if number != "" && n < 1 {
			t.Fatalf("%v takes a bound away", sent)
		}
		switch name {
		case "name":
			if text, ok := value.(string); ok {
				want.Name = strings.TrimSpace(text)
			}
		case "enabled":
			if enabled, ok := value.(bool); ok {
				want.Disabled = !enabled
			}
		case "max_connections":
			want.MaxConnections = int(n)
		case "max_connections_per_user":
			want.MaxConnectionsPerUser = int(n)
		case "channels":
			want.Rules = sentRules(t, value)
		case "max_channels":
			want.MaxChannels = int(n)
		case "max_body":
			want.MaxBody = n
		case "rate_limit":
			want.Rate = sentRate(t, value)
		case "history":
			want.History = sentHistory(t, value)
		case "recovery":
			want.Recovery = nil
			if said, ok := value.(string); ok {
				d, err := caddy.ParseDuration(said)
				if err != nil {
					t.Fatal(err)
				}
				want.Recovery = &d
			}
		case "allowed_origins":
			if list, ok := value.([]any); ok {
				want.AllowedOrigins = nil
				for _, origin := range list {
					want.AllowedOrigins = append(want.AllowedOrigins, origin.(string))
				}
			}
		default:
			t.Fatalf("%v is accepted", sent)
		}
	}
	if managetest.StoredText(t, &want) != managetest.StoredText(t, after) {
		t.Fatalf("%v leaves %+v, not %+v", sent, after, want)
	}
}

// sentRate is the rate limit that a patch sets.
func sentRate(t *testing.T, value any) *keystore.Rate {
	t.Helper()
	fields, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	publishes, ok := fields["publishes"].(json.Number)
	if !ok {
		t.Fatalf("%v takes the limit away", value)
	}
	n, err := strconv.Atoi(publishes.String())
	if err != nil {
		t.Fatal(err)
	}
	window, _ := fields["window"].(string)
	length, err := caddy.ParseDuration(window)
	if err != nil && n != 0 {
		t.Fatal(err)
	}
	return &keystore.Rate{Limit: n, Window: length}
}

// sentHistory is the history that a patch sets.
func sentHistory(t *testing.T, value any) *keystore.History {
	t.Helper()
	fields, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	messages, ok := fields["messages"].(json.Number)
	if !ok {
		t.Fatalf("%v takes the history away", value)
	}
	n, err := strconv.Atoi(messages.String())
	if err != nil {
		t.Fatal(err)
	}
	said, _ := fields["age"].(string)
	age, err := caddy.ParseDuration(said)
	if err != nil && n != 0 {
		t.Fatal(err)
	}
	return &keystore.History{Messages: n, Age: age}
}

// sentRules are the rules that a patch sets.
func sentRules(t *testing.T, value any) []keystore.Rule {
	t.Helper()
	list, ok := value.([]any)
	if !ok {
		return nil
	}
	rules := make([]keystore.Rule, 0, len(list))
	for _, each := range list {
		fields := each.(map[string]any)
		rule := keystore.Rule{Match: fields["match"].(string), Access: keystore.AccessOpen, History: sentHistory(t, fields["history"])}
		if access, ok := fields["access"].(string); ok {
			rule.Access = keystore.Access(access)
		}
		rule.Presence, _ = fields["presence"].(bool)
		rule.ClientEvents, _ = fields["client_events"].(bool)
		rules = append(rules, rule)
	}
	return rules
}

// checkAdded holds an app's last key to what it was made from.
func checkAdded(t *testing.T, after *keystore.App, sent map[string]any) {
	t.Helper()
	key := after.Keys[len(after.Keys)-1]
	kind, _ := sent["kind"].(string)
	label, _ := sent["label"].(string)
	if string(key.Kind) != kind || key.Label != strings.TrimSpace(label) || len(after.Keys) != 3 {
		t.Fatalf("%v makes the key %+v", sent, key)
	}
	scopes, _ := sent["scopes"].([]any)
	_, public := sent["public_key"].(map[string]any)
	if text, ok := sent["public_key"].(string); ok {
		public = text != ""
	}
	if len(scopes) != len(key.Scopes) || public != (key.Public() != nil) || (kind == "sign") != (key.Algorithm != "") {
		t.Fatalf("%v makes the key %+v", sent, key)
	}
	for i, scope := range scopes {
		if scope != string(key.Scopes[i]) {
			t.Fatalf("%v makes the key %+v", sent, key)
		}
	}
	expires, given := sent["expires"].(string)
	if !given {
		if !key.Expires.IsZero() {
			t.Fatalf("%v makes a key until %s", sent, key.Expires)
		}
		return
	}
	if good, err := caddy.ParseDuration(expires); err == nil {
		if off := time.Until(key.Expires) - good; off > 0 || off < -time.Minute {
			t.Fatalf("%v makes a key until %s", sent, key.Expires)
		}
		return
	}
	when, err := time.Parse(time.RFC3339, expires)
	if err != nil || !key.Expires.Equal(when) || key.Expires.IsZero() || key.Check(when) == nil {
		t.Fatalf("%v makes a key until %s, not %s: %v", sent, key.Expires, when, err)
	}
}
