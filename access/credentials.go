package access

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// maxSecret bounds how much an attacker can have hashed; our keys are shorter.
const maxSecret = 256

// Authenticate returns the app and the key that a publish or a connection
// claims, or an error that says which of the two is wrong.
func Authenticate(reg *keystore.Registry, kind keystore.Kind, appID, secret string, now time.Time) (*keystore.App, *keystore.Key, error) {
	app, ok := reg.App(appID)
	if !ok {
		return nil, nil, apierr.UnknownApp(appID)
	}
	if len(secret) > maxSecret {
		return nil, nil, apierr.InvalidKey(kind)
	}
	key, err := app.Check(kind, secret, now)
	switch {
	case errors.Is(err, keystore.ErrInvalidKey):
		return nil, nil, apierr.InvalidKey(kind)
	case errors.Is(err, keystore.ErrWrongKind):
		return nil, nil, apierr.WrongKeyKind(kind, keystore.KindOf(secret))
	case errors.Is(err, keystore.ErrKeyExpired):
		return nil, nil, apierr.KeyExpired(kind)
	case errors.Is(err, keystore.ErrKeyRevoked):
		return nil, nil, apierr.KeyRevoked(kind)
	case err != nil:
		return nil, nil, fmt.Errorf("checking a %s key of app %s: %w", kind, app.ID, err)
	case app.Disabled:
		// Checked last: only clients with a key of the app learn that it is
		// disabled.
		return nil, nil, apierr.AppDisabled()
	}
	return app, key, nil
}

// PublishCredentials reads the app's id and key from the headers of a publish.
func PublishCredentials(r *http.Request) (appID, secret string, err error) {
	appID, err = OnlyHeader(r, "X-App-Id")
	if err != nil {
		return "", "", err
	}
	authorization, err := OnlyHeader(r, "Authorization")
	if err != nil {
		return "", "", err
	}
	inQuery, isKey := QueryCredential(r.URL.RawQuery)
	switch {
	case appID == "":
		return "", "", apierr.MissingAppID(keystore.Publish, inQuery)
	case LooksLikeKey(appID):
		return "", "", apierr.KeyAsAppID(keystore.Publish, strings.TrimPrefix(appID, "Bearer "))
	case strings.Contains(appID, ","):
		return "", "", errDuplicateHeader("X-App-Id") // joined by a proxy
	case authorization == "":
		return "", "", apierr.MissingKey(keystore.Publish, inQuery)
	case isKey:
		return "", "", apierr.InvalidRequest(
			"The query string contains a key (%s), which ends up in logs. Send it in the Authorization header only, and rotate it.", inQuery)
	}
	secret, err = bearer(authorization)
	return appID, secret, err
}

// bearer returns the token of an Authorization header. Its errors never repeat
// the header, which may contain a key.
func bearer(authorization string) (string, error) {
	scheme, token, found := strings.Cut(authorization, " ")
	token = strings.TrimSpace(token)
	switch {
	case !found && strings.EqualFold(scheme, "Bearer"):
		return "", apierr.WrongScheme("The Authorization header has no key after Bearer. Write: Bearer pk_live_…")
	case !found:
		return "", apierr.WrongScheme("The Authorization header names no scheme. Write Bearer before the key: Bearer pk_live_…")
	case !strings.EqualFold(scheme, "Bearer"):
		return "", apierr.WrongScheme("The Authorization header's scheme is not Bearer. Write: Bearer pk_live_…")
	case strings.Contains(token, ","):
		return "", errDuplicateHeader("Authorization")
	}
	return token, nil
}

// OnlyHeader returns a header's value, or "" if it is absent. Two values are an
// error: here or in a proxy in front, one of them would win by chance.
func OnlyHeader(r *http.Request, name string) (string, error) {
	switch values := r.Header[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return strings.TrimSpace(values[0]), nil
	default:
		return "", errDuplicateHeader(name)
	}
}

func errDuplicateHeader(name string) *apierr.Error {
	return apierr.InvalidRequest("The %s header has more than one value. Send it once.", name)
}

// QueryCredential finds a query parameter that contains an app's id or key, and
// reports whether its value is one of our keys.
func QueryCredential(rawQuery string) (name string, isKey bool) {
	if rawQuery == "" {
		return "", false
	}
	query, _ := url.ParseQuery(rawQuery) // of an invalid query, use what can be parsed
	for param, values := range query {
		switch {
		case slices.ContainsFunc(values, LooksLikeKey):
			return text.Quote(param), true
		case namesCredential(param) && (name == "" || text.Quote(param) < name):
			name = text.Quote(param)
		}
	}
	return name, false
}

// LooksLikeKey reports whether a value is one of our keys, or a header with
// one.
func LooksLikeKey(value string) bool {
	return keystore.KindOf(strings.TrimPrefix(value, "Bearer ")) != ""
}

// namesCredential is broad on purpose: it only selects an error message.
func namesCredential(param string) bool {
	letters := strings.Map(func(r rune) rune {
		if strings.ContainsRune("-_[].", r) {
			return -1
		}
		return unicode.ToLower(r)
	}, param)
	switch letters {
	case "app", "appid", "xappid", "auth", "authorization", "token", "accesstoken",
		"key", "apikey", "appkey", "publishkey", "subscribekey",
		"authappid", "authpublishkey", "authsubscribekey":
		return true
	}
	return false
}
