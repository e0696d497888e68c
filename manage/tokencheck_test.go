package manage_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// checkToken checks a token through the admin API.
func checkToken(t *testing.T, s *managetest.Server, app, token, channel string) manage.CheckedToken {
	t.Helper()
	fields := map[string]string{"token": token}
	if channel != "" {
		fields["channel"] = channel
	}
	body, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	w := s.Do("POST", "/realtime/tokens/"+app+"/check", string(body))
	var c manage.CheckedToken
	if err := json.Unmarshal(w.Body.Bytes(), &c); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w.Header().Get("Cache-Control") != "no-store" || strings.Contains(w.Body.String(), token) && token != "" {
		t.Errorf("the answer can be cached, or repeats the token: %s", w.Body)
	}
	return c
}

func TestCheckSaysWhatATokenAllows(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	key := addKey(t, s, app.ID, `{"kind":"sign"}`)
	patchRules(t, s, app.ID, `[{"match":"room.*","access":"token","presence":true},{"match":"private-*","access":"token"},{"match":"old.*","access":"closed"}]`)
	made, _ := createToken(t, s, app.ID, key, `{"user":"42","channels":["private-user.42",{"match":"room.*","client_events":true},"old.1"],"info":{"name":"<b>"}}`)
	c := checkToken(t, s, app.ID, made.Token, "")
	if !c.Valid || c.Error != nil || c.User != "42" || c.Key != key.ID || !c.Expires.Equal(made.Expires) || c.Channel != nil {
		t.Errorf("%+v", c)
	}
	if len(c.Channels) != 3 || c.Channels[1] != (manage.Grant{Match: "room.*", ClientEvents: true}) || !strings.Contains(string(c.Header), `"alg":"HS256"`) || !strings.Contains(string(c.Claims), `"sub":"42"`) {
		t.Errorf("%+v %s %s", c.Channels, c.Header, c.Claims)
	}
	for channel, want := range map[string]string{ // the code, and the rule's match
		"private-user.42": " private-*", "room.7": " room.*", "orders": " ", "private-user.43": "channel_forbidden private-*", "old.1": "channel_forbidden old.*",
	} {
		got := checkToken(t, s, app.ID, made.Token, channel).Channel
		code, match := "", ""
		if got.Error != nil {
			code = got.Error.Code
		}
		if got.Rule != nil {
			match = got.Rule.Match
		}
		if code+" "+match != want || got.Allowed != (code == "") || got.Channel != channel {
			t.Errorf("%s: %+v", channel, got)
		}
	}
}

func TestCheckSaysWhyATokenIsRefused(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	key := addKey(t, s, app.ID, `{"kind":"sign"}`)
	made, _ := createToken(t, s, app.ID, key, `{"user":"42","channels":["private-*"]}`)
	refusal := func(token string) string {
		t.Helper()
		c := checkToken(t, s, app.ID, token, "open")
		if c.Valid || c.User != "" || c.Key != "" || c.Expires != nil || c.Channels != nil || c.Channel.Allowed || *c.Channel.Error != *c.Error {
			t.Errorf("%.40s: %+v", token, c)
		}
		return c.Error.Code + " " + c.Error.Message
	}
	encode := base64.RawURLEncoding.EncodeToString
	for token, want := range map[string]string{
		"":                             "invalid_token The token is empty",
		key.Secret:                     "invalid_token This is a signing key",
		made.Token[:len(made.Token)-4]: "invalid_token ",
		made.Token + "." + strings.Repeat("x", 9000):                          "invalid_token The token has ",
		encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte("\xff")) + ".": "invalid_token The token is not signed",
	} {
		if got := refusal(token); !strings.HasPrefix(got, want) {
			t.Errorf("%.40s: %s", token, got)
		}
	}
	if _, err := s.Gateway.Registry.RevokeUser(app.ID, "42", time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := refusal(made.Token); !strings.HasPrefix(got, "token_revoked ") {
		t.Error(got)
	}
	other, _ := createToken(t, s, app.ID, key, `{"user":"43"}`)
	if c := checkToken(t, s, app.ID, other.Token, ""); !c.Valid {
		t.Errorf("%+v", c)
	}
	if w := s.Do("PATCH", "/realtime/apps/"+app.ID, `{"enabled":false}`); w.Code != http.StatusOK {
		t.Fatal(w.Body)
	}
	if got := refusal(other.Token); !strings.HasPrefix(got, "app_disabled ") {
		t.Error(got)
	}
	if w := s.Do("DELETE", "/realtime/keys/"+app.ID+"/"+key.ID, ""); w.Code != http.StatusNoContent {
		t.Fatal(w.Body)
	}
	if got := refusal(other.Token); !strings.HasPrefix(got, "invalid_token The signing key "+key.ID+" was revoked") {
		t.Error(got)
	}
	now := time.Now().Add(2 * time.Hour)
	app2 := s.Create(t)
	expiring, _ := createToken(t, s, app2.ID, addKey(t, s, app2.ID, `{"kind":"sign"}`), `{"user":"42"}`)
	if c, err := manage.CheckToken(s.MustHold(t, app2.ID), expiring.Token, "", now); err != nil || c.Valid || c.Error.Code != "token_expired" || c.Claims == nil {
		t.Errorf("%+v, %v", c, err)
	}
	for body, code := range map[string]int{`{}`: 400, `{"token":null}`: 400, `{"token":1}`: 400, `{"token":"a","channel":"a b"}`: 422, `{"token":"a","channel":""}`: 422, `{"token":"a","user":"42"}`: 400} {
		if w := s.Do("POST", "/realtime/tokens/"+app.ID+"/check", body); w.Code != code {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
}
