package token_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/token"
)

// FuzzVerify verifies any text, and any header and payload with a signature of one of
// the app's keys or of another. Whatever is accepted is also valid for golang-jwt
// and encoding/json, and says the same; a refusal does not repeat the token.
func FuzzVerify(f *testing.F) {
	var signers []signer
	for _, algorithm := range algorithms() {
		signers = append(signers, newSigner(f, algorithm))
	}
	expired, revoked := newSigner(f, keystore.HS256), newSigner(f, keystore.EdDSA)
	expired.Expires, revoked.Revoked = now, now
	signers = append(signers, newSigner(f, keystore.HS256), expired, revoked)
	app := newApp(signers...)
	app.RevokedUsers = map[string]time.Time{"revoked": now}
	signers = append(signers, newSigner(f, keystore.HS256), newSigner(f, keystore.ES256)) // another app's

	for i, s := range signers {
		f.Add(fmt.Sprintf(`{"alg":%q,"typ":"JWT"}`, s.Algorithm), in(`"sub":"42","channels":["a","b.*"]`), uint8(i), "")
		f.Add(fmt.Sprintf(`{"kid":%q,"alg":%q}`, s.ID, s.Algorithm), in(`"sub":"42","info":{"name":"Ann"},"iat":1800000000`), uint8(i), "")
		f.Add("", "", uint8(0), s.token(f, in(`"sub":"42"`)))
	}
	for _, header := range []string{
		`{"alg":"none"}`, `{"alg":"HS256","crit":["exp"]}`, `{"alg":"HS256","b64":false}`, `{"alg":"HS256","jwk":{}}`, `{"alg":"HS256","alg":"none"}`,
		`{"alg":"HS256","kid":"key_x"}`, `{"alg":"HS512"}`, `{}`, `[]`, `{"alg":1}`, `{"alg":"HS256","x":1e999}`,
	} {
		f.Add(header, in(""), uint8(0), "")
	}
	for _, payload := range []string{
		in(`"sub":"revoked"`), in(`"sub":"revoked","iat":1800000001`), in(`"sub":"a","\u0073ub":"b"`), in(`"sub":"\ud800"`), in(`"sub":"` + strings.Repeat("é", 128) + `"`),
		in(`"channels":[{"match":"a*","client_events":true},{"match":"b"},"*"]`), in(`"channels":["a*b"]`), in(`"channels":["` + strings.Repeat("a", 200) + `*"]`),
		in(`"channels":["a b"]`), in(`"nbf":1800000030.25`), in(`"iat":1800000031`), `{"exp":1800086430}`, `{"exp":1799999971}`, `{"exp":1.80000006e9}`, `{"exp":1e400}`,
		`{"exp":"1800000060"}`, `{}`, `[]`, `null`, ``, "{\"exp\":1800000060,\"sub\":\"\xff\"}", in(`"info":null`), in(`"info":1`), in(`"sub":"42","info": [ 1.0 , "<\u2028" ] `),
	} {
		f.Add(`{"alg":"HS256"}`, payload, uint8(0), "")
	}
	for _, raw := range []string{"", ".", "..", "a.b.c", "....", "sign_live_0123", strings.Repeat("A", 8193), "e30.e30.e30", "eyJhbGciOiJub25lIn0.e30.", "e30=.e30.e30", "e30.e3\n0.e30"} {
		f.Add("", "", uint8(0), raw)
	}
	f.Fuzz(func(t *testing.T, header, payload string, key uint8, raw string) {
		if raw == "" {
			raw = signers[int(key)%len(signers)].sign(t, header, payload)
		}
		got, err := token.Verify(app, raw, now)
		if err != nil {
			checkRefusal(t, raw, got, err)
			return
		}
		checkAccepted(t, app, raw, got)
	})
}

func checkRefusal(t *testing.T, raw string, got *token.Token, err error) {
	t.Helper()
	e, ok := err.(*apierr.Error) //nolint:errorlint // it is never wrapped
	if !ok || got != nil || !slices.Contains([]string{"invalid_token", "token_expired", "token_revoked"}, e.Code) {
		t.Fatalf("%s: %v, %v", decoded(raw), got, err)
	}
	if len(e.Message) > 600 || !utf8.ValidString(e.Message) || strings.ContainsFunc(e.Message, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Fatalf("%s: the message is %q", decoded(raw), e.Message)
	}
	if i := strings.LastIndexByte(raw, '.'); len(raw) > 100 && strings.Contains(e.Message, raw[i+1:]) && len(raw)-i > 20 {
		t.Fatalf("the message %q repeats the signature", e.Message)
	}
}

// said are the claims as encoding/json reads them.
type said struct {
	User     string            `json:"sub"`
	Expires  jwt.NumericDate   `json:"exp"`
	Channels []json.RawMessage `json:"channels"`
	Info     json.RawMessage   `json:"info"`
}

// checkAccepted verifies a token with golang-jwt and the key that Verify chose.
func checkAccepted(t *testing.T, app *keystore.App, raw string, got *token.Token) {
	t.Helper()
	i := slices.IndexFunc(app.Keys, func(k keystore.Key) bool { return k.ID == got.Key })
	if i < 0 || app.Keys[i].Check(now) != nil || app.Keys[i].Kind != keystore.Sign || len(raw) > 8192 {
		t.Fatalf("%s is accepted, key %s", decoded(raw), got.Key)
	}
	key := &app.Keys[i]
	var verifier any = key.Public()
	if verifier == nil {
		verifier = key.Verifier
	}
	parsed, err := jwt.NewParser(
		jwt.WithValidMethods([]string{string(key.Algorithm)}), jwt.WithStrictDecoding(), jwt.WithJSONNumber(), jwt.WithoutClaimsValidation(),
	).Parse(raw, func(*jwt.Token) (any, error) { return verifier, nil })
	if err != nil {
		t.Fatalf("%s is accepted, but: %v", decoded(raw), err)
	}
	if kid, ok := parsed.Header["kid"]; ok && kid != got.Key {
		t.Fatalf("%s is accepted with the key %s", decoded(raw), got.Key)
	}
	claims, ok := parsed.Claims.(jwt.MapClaims)
	if !ok {
		t.Fatalf("%T", parsed.Claims)
	}
	const slack = 1e-3 // of floating point
	date := func(name string) (seconds float64, found bool) {
		number, found := claims[name].(json.Number)
		if !found && claims[name] != nil {
			t.Fatalf("%s has the %s %v", decoded(raw), name, claims[name])
		}
		seconds, err := number.Float64()
		if found && (err != nil || seconds < 0) {
			t.Fatalf("%s has the %s %s", decoded(raw), name, number)
		}
		return seconds, found
	}
	at := float64(now.UnixNano()) / 1e9
	if exp, found := date("exp"); !found || exp <= at-30-slack || exp > at+24*3600+30+slack {
		t.Fatalf("%s expires at %f", decoded(raw), exp)
	} else if d := exp - float64(got.Expires.UnixNano())/1e9; d < -slack || d > slack {
		t.Fatalf("%s expires at %s", decoded(raw), got.Expires)
	}
	if nbf, _ := date("nbf"); nbf > at+30+slack {
		t.Fatalf("%s is not valid before %f", decoded(raw), nbf)
	}
	iat, found := date("iat")
	if iat > at+30+slack || found == got.Issued.IsZero() {
		t.Fatalf("%s was issued at %f, or %s", decoded(raw), iat, got.Issued)
	}
	if at, ok := app.RevokedUsers[got.User]; ok && iat < float64(at.Unix())+1 {
		t.Fatalf("%s is accepted, but %s is revoked", decoded(raw), got.User)
	}
	checkClaims(t, raw, got)
}

// grantMatch matches the patterns that a token can have.
var grantMatch = regexp.MustCompile(`^([A-Za-z0-9_\-=@,.;:/]{1,200}\*?|\*)$`)

// checkClaims checks what an accepted token allows.
func checkClaims(t *testing.T, raw string, got *token.Token) {
	t.Helper()
	payload, err := jwt.NewParser().DecodeSegment(strings.Split(raw, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	// A map, because a struct's fields would match names in another case.
	var named map[string]json.RawMessage
	if err := json.Unmarshal(payload, &named); err != nil {
		t.Fatal(err)
	}
	exact, err := json.Marshal(map[string]json.RawMessage{"sub": named["sub"], "channels": named["channels"], "info": named["info"]})
	if err != nil {
		t.Fatal(err)
	}
	var want said
	if err := json.Unmarshal(exact, &want); err != nil {
		t.Fatal(err)
	}
	n := utf8.RuneCountInString(got.User)
	if got.User != want.User || n > 128 || (n > 0) != (named["sub"] != nil) || strings.ContainsFunc(got.User, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Fatalf("%s: the user is %q", decoded(raw), got.User)
	}
	if len(got.Grants) != len(want.Channels) || len(got.Grants) > 100 {
		t.Fatalf("%s has %d grants", decoded(raw), len(got.Grants))
	}
	for i, grant := range got.Grants {
		object := struct {
			Match        string `json:"match"`
			ClientEvents bool   `json:"client_events"`
		}{}
		decoder := json.NewDecoder(bytes.NewReader(want.Channels[i]))
		decoder.DisallowUnknownFields()
		if json.Unmarshal(want.Channels[i], &object.Match) != nil {
			if err := decoder.Decode(&object); err != nil {
				t.Fatalf("%s: %v", decoded(raw), err)
			}
		}
		if grant.Match != object.Match || grant.ClientEvents != object.ClientEvents || !grantMatch.MatchString(grant.Match) {
			t.Fatalf("%s: grant %d is %+v", decoded(raw), i, grant)
		}
	}
	if string(want.Info) == "null" {
		want.Info = nil
	}
	var compact bytes.Buffer
	if want.Info != nil {
		if err := json.Compact(&compact, named["info"]); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Info, compact.Bytes()) || len(got.Info) > 1024 || got.Info != nil && got.User == "" {
		t.Fatalf("%s: info is %s", decoded(raw), got.Info)
	}
}
