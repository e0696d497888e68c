package manage_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// addKey adds a key to an app through the admin API.
func addKey(t *testing.T, s *managetest.Server, app, body string) manage.IssuedKey {
	t.Helper()
	w := s.Do("POST", "/realtime/keys/"+app, body)
	var made manage.IssuedKey
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != http.StatusCreated {
		t.Fatalf("%s: %d %s", body, w.Code, w.Body)
	}
	return made
}

// createToken returns a token and what it claims, verified with a key.
func createToken(t *testing.T, s *managetest.Server, app string, key manage.IssuedKey, body string) (made manage.Token, claims map[string]any) {
	t.Helper()
	w := s.Do("POST", "/realtime/tokens/"+app, body)
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != http.StatusCreated {
		t.Fatalf("%s: %d %s", body, w.Code, w.Body)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("the token can be cached")
	}
	payload := verified(t, made.Token, key.Secret)
	signed, err := jose.ParseSignedCompact(made.Token, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		t.Fatal(err)
	}
	header := signed.Signatures[0].Protected
	if header.KeyID != key.ID || made.Key != key.ID || header.ExtraHeaders[jose.HeaderType] != "JWT" {
		t.Errorf("header %+v, key %s", header, made.Key)
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return made, claims
}

// verified returns the claims of a token that a secret signed.
func verified(t *testing.T, token, secret string) []byte {
	t.Helper()
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := signed.Verify([]byte(secret))
	if err != nil {
		t.Fatalf("%s: %v", token, err)
	}
	return claims
}

func TestTokenClaimsWhatWasAskedFor(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	key := addKey(t, s, app.ID, `{"kind":"sign"}`)
	info := `"` + strings.Repeat("<", 1022) + `"` // 1 KiB, without escapes
	for _, c := range []struct {
		body, want string // want without times
		life       time.Duration
	}{
		{`{"user":"42","channels":["private-user.42","presence-room.*",{"match":"room.1","client_events":true}],"info":{"name":"Ann"}}`, `{"channels":["private-user.42","presence-room.*",{"client_events":true,"match":"room.1"}],"info":{"name":"Ann"},"sub":"42"}`, time.Hour},
		{`{"user":"` + strings.Repeat("ü", 128) + `","channels":["*"],"expires_in":"24h"}`, `{"channels":["*"],"sub":"` + strings.Repeat("ü", 128) + `"}`, 24 * time.Hour},
		{`{"user":"a b","expires_in":"1s"}`, `{"sub":"a b"}`, time.Second},
		{`{"user":"42","channels":null,"info":null,"expires_in":null}`, `{"sub":"42"}`, time.Hour},
		{`{"user":"42","channels":[],"info":` + info + `,"expires_in":"1d"}`, `{"info":` + info + `,"sub":"42"}`, 24 * time.Hour},
		{`{"user":"42","info":[ 1 ,false]}`, `{"info":[1,false],"sub":"42"}`, time.Hour},
	} {
		before := time.Now().Truncate(time.Second)
		made, claims := createToken(t, s, app.ID, key, c.body)
		exp, iat := int64(claims["exp"].(float64)), int64(claims["iat"].(float64))
		if made.Expires.Unix() != exp || iat < before.Unix() || iat > time.Now().Unix() || time.Duration(exp-iat)*time.Second != c.life {
			t.Errorf("%.80s: from %d until %d, answered %s", c.body, iat, exp, made.Expires)
		}
		delete(claims, "exp")
		delete(claims, "iat")
		var got bytes.Buffer
		encoder := json.NewEncoder(&got)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(claims); err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(got.String()) != c.want {
			t.Errorf("%.80s claims %s, want %s", c.body, got.String(), c.want)
		}
	}
}

func TestTokenIsSignedWithTheNewestSecretAndDoesNotOutliveIt(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	first := addKey(t, s, app.ID, `{"kind":"sign"}`)
	second := addKey(t, s, app.ID, `{"kind":"sign","expires":"10m"}`)
	addKey(t, s, app.ID, `{"kind":"sign","public_key":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}`)
	made, _ := createToken(t, s, app.ID, second, `{"user":"42"}`)
	if made.Expires.After(*second.Expires) || second.Expires.Sub(made.Expires) > time.Second {
		t.Errorf("until %s with a key until %s", made.Expires, second.Expires)
	}
	s.Do("DELETE", "/realtime/keys/"+app.ID+"/"+second.ID, "")
	createToken(t, s, app.ID, first, `{"user":"42"}`)
	w := s.Do("POST", "/realtime/keys/"+app.ID+"/"+first.ID+"/rotate", `{"overlap":"1h"}`)
	var third manage.IssuedKey
	if err := json.Unmarshal(w.Body.Bytes(), &third); err != nil {
		t.Fatal(err)
	}
	createToken(t, s, app.ID, third, `{"user":"42"}`)
}

func TestTokenNeedsASecretOfTheApp(t *testing.T) {
	s := managetest.New(t)
	app, other := s.Create(t), s.Create(t)
	addKey(t, s, other.ID, `{"kind":"sign"}`)
	fails := func(says string) {
		t.Helper()
		w := s.Do("POST", "/realtime/tokens/"+app.ID, `{"user":"42"}`)
		if cure := "Add a secret: caddy realtime key add " + app.ID + " --kind sign"; w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says+" "+cure) {
			t.Errorf("%d %s, want %s", w.Code, w.Body, says)
		}
	}
	fails("The app has no valid signing key.")
	public := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public()
	addKey(t, s, app.ID, `{"kind":"sign","public_key":`+jsonOf(t, publicPEM(t, public))+`}`)
	fails("The app's signing keys are public keys, whose private halves are not here.")
	revoked := addKey(t, s, app.ID, `{"kind":"sign"}`)
	s.Do("DELETE", "/realtime/keys/"+app.ID+"/"+revoked.ID, "")
	fails("The app's signing keys are public keys, whose private halves are not here.")
	if w := s.Do("POST", "/realtime/tokens/app_none", `{"user":"42"}`); w.Code != http.StatusNotFound {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTokenThatCannotBeMeantIsRefusedWithTheCure(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	addKey(t, s, app.ID, `{"kind":"sign"}`)
	hundred := strings.TrimSuffix(strings.Repeat(`"a",`, 100), ",")
	large := make([]string, 0, 100)
	for i := range 100 {
		large = append(large, fmt.Sprintf(`"%s%03d"`, strings.Repeat("a", 197), i))
	}
	for body, says := range map[string]string{
		`{}`:            `user is missing. Send the user's id: {"user":"42"`,
		`{"user":null}`: `user is missing`,
		`{"user":42}`:   `user must be a string, not a number.`,
		`{"user":""}`:   `user is empty. Set it to the user's id, which has 1 to 128 printable characters.`,
		`{"user":"` + strings.Repeat("u", 129) + `"}`: `user has 129 characters; at most 128 are allowed.`,
		`{"user":"a\nb"}`:                                             `user has '\n' at character 2. Allowed are printable characters.`,
		`{"user":"a\u202eb"}`:                                         `Allowed are printable characters.`,
		`{"user":"\ud800"}`:                                           `half of a surrogate pair`,
		`{"user":"42","channels":"a"}`:                                `channels must be a list of channels, ["private-user.42"], not a string.`,
		`{"user":"42","channels":{}}`:                                 `channels must be a list of channels`,
		`{"user":"42","channels":[` + hundred + `,"a"]}`:              `channels has 101 entries; at most 100 are allowed. A * stands for the rest of a name.`,
		`{"user":"42","channels":[` + strings.Join(large, ",") + `]}`: `bytes; at most 8192 are allowed. Name fewer channels`,
		`{"user":"42","channels":["a",5]}`:                            `channels[1]: It is a number. Send a channel's name, the beginning of names with a *, or an object: {"match":"room.1","client_events":true}.`,
		`{"user":"42","channels":[null]}`:                             `channels[0]: It is null.`,
		`{"user":"42","channels":[""]}`:                               `channels[0]: It is "". It must be a channel's name`,
		`{"user":"42","channels":["a*b"]}`:                            `channels[0]: It is "a*b". It must be a channel's name, or the beginning`,
		`{"user":"42","channels":["a b"]}`:                            `channels[0]: It is "a b", which no channel can be. The channel's name has ' ' at character 2.`,
		`{"user":"42","channels":[{}]}`:                               `channels[0]: It needs match: {"match":"room.1"`,
		`{"user":"42","channels":[{"match":"**"}]}`:                   `channels[0]: match is "**".`,
		`{"user":"42","channels":[{"match":"a","client_events":1}]}`:  `channels[0]: client_events must be true or false, not a number.`,
		`{"user":"42","channels":[{"match":"a","presence":true}]}`:    `channels[0]: Unknown field "presence".`,
		`{"user":"42","channels":[{"match":"a","match":"b"}]}`:        `"match" is duplicated.`,
		`{"user":"42","info":"` + strings.Repeat("ü", 512) + `"}`:     `info has 1026 bytes; at most 1024 are allowed.`,
		`{"user":"42","expires_in":"25h"}`:                            `expires_in is "25h". It is how long the token is valid, from "1s" to "24h": {"expires_in":"1h"}.`,
		`{"user":"42","expires_in":"24h0m1s"}`:                        `from "1s" to "24h"`,
		`{"user":"42","expires_in":"0s"}`:                             `from "1s" to "24h"`,
		`{"user":"42","expires_in":"-1h"}`:                            `from "1s" to "24h"`,
		`{"user":"42","expires_in":""}`:                               `expires_in is ""`,
		`{"user":"42","expires_in":3600}`:                             `expires_in must be a duration, "1h", not a number.`,
		`{"user":"42","expires":"1h"}`:                                `Unknown field "expires".`,
		`{"sub":"42"}`:                                                `Unknown field "sub".`,
		`{"user":"42","user":"43"}`:                                   `"user" is duplicated.`,
		`[]`:                                                          `The body must be an object, not a list.`,
	} {
		w := s.Do("POST", "/realtime/tokens/"+app.ID, body)
		var refusal struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &refusal); err != nil {
			t.Fatal(err)
		}
		if w.Code != http.StatusBadRequest || refusal.Error.Code != "invalid_request" || !strings.Contains(refusal.Error.Message, says) {
			t.Errorf("%.80s: %d %s, want %q", body, w.Code, refusal.Error.Message, says)
		}
	}
}

// The log says that a token was made and with which key, but not the token, nor
// what it says about a person.
func TestTokenIsNotLogged(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	key := addKey(t, s, app.ID, `{"kind":"sign"}`)
	var log bytes.Buffer
	logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&log), zap.DebugLevel))
	user := "ann@example.com"
	made, err := s.Gateway.Operator(logger, zap.String("remote", "127.0.0.1")).CreateToken(app.ID, &manage.NewToken{User: &user, Info: json.RawMessage(`{"name":"Ann"}`)})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"msg":"token created"`, app.ID, key.ID, `"remote":"127.0.0.1"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log %s lacks %s", log.String(), want)
		}
	}
	for _, secret := range append(strings.Split(made.Token, "."), key.Secret, user, "Ann") {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log %s has %s", log.String(), secret)
		}
	}
	if strings.Count(log.String(), "\n") != 1 || keystore.KindOf(made.Token) != "" {
		t.Errorf("the log is %s", log.String())
	}
}
