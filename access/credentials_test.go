package access

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

func TestPublishCredentialsAreReadFromHeaders(t *testing.T) {
	for _, c := range []struct{ name, appID, authorization string }{
		{"as documented", "app_1", "Bearer pk_live_x"},
		{"another case", "app_1", "bearer pk_live_x"},
		{"with spaces", "  app_1 ", "BEARER   pk_live_x  "},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/publish?trace=1", http.NoBody)
			r.Header.Set("X-App-Id", c.appID)
			r.Header.Set("Authorization", c.authorization)
			appID, secret, err := PublishCredentials(r)
			if err != nil || appID != "app_1" || secret != "pk_live_x" {
				t.Fatalf("got %q, %q, %v", appID, secret, err)
			}
		})
	}
}

func TestPublishCredentialsAreRefusedWithTheCure(t *testing.T) {
	one, key := []string{"app_1"}, []string{"Bearer pk_live_x"}
	for _, c := range []struct {
		name, query          string
		appID, authorization []string
		code, says           string
	}{
		{"nothing", "", nil, nil, "missing_app_id", "X-App-Id header"},
		{"no app id", "", nil, key, "missing_app_id", "X-App-Id header"},
		{"empty app id", "", []string{" "}, key, "missing_app_id", "X-App-Id header"},
		{"no key", "", one, nil, "missing_key", "Authorization header"},
		{"empty key", "", one, []string{""}, "missing_key", "Authorization header"},
		{"scheme alone", "", one, []string{"Bearer "}, "missing_key", "no key after Bearer"},
		{"key alone", "", one, []string{"pk_live_x"}, "missing_key", "names no scheme"},
		{"another scheme", "", one, []string{"Basic cGtfbGl2ZV94"}, "missing_key", "not Bearer"},
		{"digest", "", one, []string{`Digest username="a", realm="b"`}, "missing_key", "not Bearer"},
		{"app id twice", "", []string{"app_1", "app_1"}, key, "invalid_request", "X-App-Id header has more than one"},
		{"app ids joined", "", []string{"app_1, app_2"}, key, "invalid_request", "X-App-Id header has more than one"},
		{"key twice", "", one, []string{"Bearer pk_live_x", "Bearer pk_live_y"}, "invalid_request", "Authorization header has more than one"},
		{"keys joined", "", one, []string{"Bearer pk_live_x, Bearer pk_live_y"}, "invalid_request", "Authorization header has more than one"},
		{"all in the query", "appId=app_1&publishKey=pk_live_x", nil, nil, "missing_app_id", `"publishKey" is not read`},
		{"app id in the query", "app_id=app_1", nil, key, "missing_app_id", `"app_id" is not read`},
		{"key in the query", "access_token=pk_live_x", one, nil, "missing_key", `"access_token" is not read`},
		{"key in both", "x=pk_live_x", one, key, "invalid_request", `("x"), which ends up in logs`},
		{"another key in both", "x=Bearer+sub_live_x", one, key, "invalid_request", "rotate it"},
		{"long parameter", strings.Repeat("x", 5000) + "=pk_live_x", one, key, "invalid_request", `xx"…`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/publish?"+c.query, http.NoBody)
			r.Header["X-App-Id"], r.Header["Authorization"] = c.appID, c.authorization
			_, _, err := PublishCredentials(r)
			e, ok := errors.AsType[*apierr.Error](err)
			if !ok || e.Code != c.code || !strings.Contains(e.Message, c.says) {
				t.Fatalf("got %v, want %s with %q", err, c.code, c.says)
			}
			if strings.Contains(e.Message, "live_x") {
				t.Fatalf("repeats a key: %s", e.Message)
			}
		})
	}
}

func TestQueryCredentialsAreFound(t *testing.T) {
	for _, c := range []struct {
		query, name string
		isKey       bool
	}{
		{"", "", false},
		{"EIO=4&transport=polling&t=abc&sid=xyz", "", false},
		{"EIO=4&appId=app_1", `"appId"`, false},
		{"auth[appId]=app_1", `"auth[appId]"`, false},
		{"subscribeKey=", `"subscribeKey"`, false},
		{"x-app-id=1&Authorization=1", `"Authorization"`, false},
		{"token=1&foo=sub_live_1", `"foo"`, true},
		{"foo=%zz&key=1", `"key"`, false},
	} {
		if name, isKey := QueryCredential(c.query); name != c.name || isKey != c.isKey {
			t.Errorf("%s: got %s, %t", c.query, name, isKey)
		}
	}
}

func TestEitherKeyInTheOthersPlaceIsNamed(t *testing.T) {
	store, err := keystore.OpenBadger(t.TempDir(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	registry, err := keystore.Open(store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = registry.Close() })
	made, err := registry.Create("shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind   keystore.Kind
		secret string
		says   string
	}{
		{keystore.Publish, made.SubscribeKey, "This is a subscribe key. POST /publish takes the app's publish key (pk_live_…)."},
		{keystore.Subscribe, made.PublishKey, "This is a publish key. Socket.IO takes the app's subscribe key (sub_live_…)."},
	} {
		_, _, err := Authenticate(registry, c.kind, made.App.ID, c.secret, time.Now())
		if e, ok := errors.AsType[*apierr.Error](err); !ok || e.Code != "wrong_key_kind" || e.Message != c.says {
			t.Errorf("%s: got %v", c.kind, err)
		}
	}
	app, key, err := Authenticate(registry, keystore.Subscribe, made.App.ID, made.SubscribeKey, time.Now())
	if err != nil || app.ID != made.App.ID || key.Kind != keystore.Subscribe {
		t.Errorf("got %v, %v, %v", app, key, err)
	}
}
