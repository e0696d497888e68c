package realtime

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// FuzzCredentials sends arbitrary headers and an arbitrary query. An accepted request
// has sent the app's ID and one of its valid keys, once each; a refusal is an
// apierr.Error that does not repeat the text after Bearer.
func FuzzCredentials(f *testing.F) {
	s := newShop(f)
	for _, seed := range [][5]string{
		{s.app, "", "Bearer " + s.publishKey, "", "trace=1"},
		{" " + s.app + " ", "", "bEARER   " + s.publishKey + " ", "", ""},
		{s.app, s.app, "Bearer " + s.publishKey, "", ""},
		{s.app, "", "Bearer " + s.publishKey, "Bearer x", ""},
		{s.app + "," + s.other, "", "Bearer " + s.otherKey + "," + s.publishKey, "", ""},
		{s.app, "", s.publishKey, "", ""},
		{s.app, "", "Basic " + s.publishKey, "", ""},
		{s.app, "", "Bearer\t" + s.publishKey, "", ""},
		{s.app, "", "Bearer " + s.otherKey, "", ""},
		{s.app, "", "Bearer " + s.subscribeKey, "", ""},
		{s.app, "", "Bearer " + s.expiredKey, "", ""},
		{s.app, "", "Bearer " + s.revokedKey, "", ""},
		{s.disabledApp, "", "Bearer " + s.disabledKey, "", ""},
		{s.app, "", "Bearer " + s.publishKey, "", "key=" + s.publishKey},
		{s.app, "", "Bearer " + s.publishKey, "", "x=Bearer+sub_live_1;y=%zz"},
		{"", "", "Bearer", "", "app_id=" + s.app},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4])
	}
	good := map[string]string{s.app: s.publishKey, s.other: s.otherKey, s.narrowApp: s.narrowKey}
	f.Fuzz(func(t *testing.T, id, secondID, authorization, second, query string) {
		r := &http.Request{URL: &url.URL{RawQuery: query}, Header: http.Header{}}
		for _, h := range [][2]string{{"X-App-Id", id}, {"X-App-Id", secondID}, {"Authorization", authorization}, {"Authorization", second}} {
			if h[1] != "" {
				r.Header[h[0]] = append(r.Header[h[0]], h[1])
			}
		}
		appID, secret, err := access.PublishCredentials(r)
		var app *keystore.App
		if err == nil {
			if appID == "" || secret == "" || strings.TrimSpace(appID) != appID || strings.TrimSpace(secret) != secret ||
				len(r.Header["X-App-Id"]) != 1 || len(r.Header["Authorization"]) != 1 || strings.Contains(appID+secret, ",") {
				t.Fatalf("%q with %q is the app %q and the key %q", r.Header, query, appID, secret)
			}
			app, _, err = access.Authenticate(s.registry, keystore.Publish, appID, secret, time.Now())
		}
		if err == nil {
			values, _ := url.ParseQuery(query)
			for _, list := range values {
				if slices.ContainsFunc(list, access.LooksLikeKey) {
					t.Fatalf("a key in the query %q is let pass", query)
				}
			}
			if key, ok := good[app.ID]; !ok || key != secret || !strings.Contains(strings.Join(r.Header["X-App-Id"], ""), app.ID) ||
				!strings.Contains(strings.Join(r.Header["Authorization"], ""), key) {
				t.Fatalf("%q is let in as %s", r.Header, app.ID)
			}
			return
		}
		refusal, ok := errors.AsType[*apierr.Error](err)
		if !ok || !utf8.ValidString(refusal.Message) || len(refusal.Message) > 1000 {
			t.Fatalf("%q is refused with %v", r.Header, err)
		}
		if _, token, _ := strings.Cut(authorization, " "); len(token) > 20 && !strings.Contains(id+secondID+query, token) &&
			strings.Contains(refusal.Message, token) {
			t.Fatalf("%q is repeated: %s", token, refusal.Message)
		}
	})
}

// FuzzAuth decodes a handshake's auth object both with encoding/json and our own code.
func FuzzAuth(f *testing.F) {
	s := newShop(f)
	for _, seed := range []string{
		`{"appId":"` + s.app + `","subscribeKey":"` + s.subscribeKey + `","more":[1]}`,
		`{"appId":"` + s.app + `","subscribeKey":"` + s.publishKey + `"}`,
		`{"appId":"` + s.disabledApp + `","subscribeKey":"` + s.subscribeKey + `"}`,
		`{"appId":null,"subscribeKey":"x"}`, `{"appId":1}`, `{"appid":"a","SubscribeKey":"b"}`, `{"appId":"a"}`, `{"appId":"a","subscribeKey":{}}`,
		`{"appId":"a","token":"b"}`, `{"appId":"a","token":5}`, `{"appId":"a","subscribeKey":"b","token":null}`,
		`{"appId":"a","appId":"b","subscribeKey":"\ud800"}`, `{}`, `null`, `[]`, `"a"`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, auth []byte) {
		if len(auth) == 0 {
			auth = nil // a CONNECT without auth
		} else if !json.Valid(auth) || !utf8.Valid(auth) {
			return // refused earlier
		}
		socket := &socket{visitor: new(visitor)}
		c, err := socket.credentials(auth)
		var fields map[string]any
		decodable := auth == nil || json.Unmarshal(auth, &fields) == nil
		wantID, idOK := fields["appId"].(string)
		wantSecret, secretOK := fields["subscribeKey"].(string)
		recovers, isBool := fields["recover"].(bool)
		wantToken, tokenOK := fields["token"].(string)
		text := func(name string, isText bool) bool { return fields[name] == nil || isText }
		valid := (fields["recover"] == nil || isBool) && text("appId", idOK) && text("subscribeKey", secretOK) && text("token", tokenOK)
		if complete := decodable && valid && wantID != "" && (wantSecret != "" || wantToken != "") && !access.LooksLikeKey(wantID); complete != (err == nil) {
			t.Fatalf("%s is %+v, %v", auth, c, err)
		}
		if err == nil {
			if c.app != wantID || c.key != wantSecret || c.token != wantToken || c.asked.recover != recovers {
				t.Fatalf("%s is %+v", auth, c)
			}
			app, key, authErr := access.Authenticate(s.registry, keystore.Subscribe, c.app, c.key, time.Now())
			if authErr == nil && (app.ID != s.app || c.key != s.subscribeKey || key.Kind != keystore.Subscribe) {
				t.Fatalf("%s is let in as %s", auth, app.ID)
			}
			err = authErr
		}
		if refusal, ok := errors.AsType[*apierr.Error](err); err != nil && (!ok || !utf8.ValidString(refusal.Message)) {
			t.Fatalf("%s is refused with %v", auth, err)
		}
	})
}
