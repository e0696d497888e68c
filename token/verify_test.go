package token_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/token"
)

// at returns a time as a NumericDate.
func at(ahead time.Duration) string {
	return strconv.FormatFloat(float64(now.Add(ahead).UnixNano())/1e9, 'f', -1, 64)
}

// in returns claims that expire in an hour, and others.
func in(others string) string {
	if others != "" {
		others = "," + others
	}
	return `{"exp":` + at(time.Hour) + others + `}`
}

func TestTokensOfAnotherLibraryAreVerifiedForEveryAlgorithm(t *testing.T) {
	for _, algorithm := range algorithms() {
		t.Run(string(algorithm), func(t *testing.T) {
			s := newSigner(t, algorithm)
			issued := jwt.NewWithClaims(s.method, jwt.MapClaims{
				"sub": "42", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": "x", "iss": "shop", "aud": []string{"a"},
				"channels": []any{"private-user.42", map[string]any{"match": "presence-room.*", "client_events": true}},
				"info":     map[string]any{"name": "Ann <a> & é"},
			})
			for _, kid := range []string{"", s.ID} {
				if kid != "" {
					issued.Header["kid"] = kid
				}
				raw, err := issued.SignedString(s.private)
				if err != nil {
					t.Fatal(err)
				}
				got := verify(t, newApp(s), raw)
				if name := `"Ann <a> & é"`; !strings.Contains(string(got.Info), name) && !strings.Contains(string(got.Info), `"Ann \u003ca\u003e \u0026 é"`) {
					t.Errorf("info is %s", got.Info)
				}
				got.Info = nil
				want := &token.Token{
					User: "42", Key: s.ID, Issued: now.Truncate(time.Second), Expires: now.Add(time.Hour).Truncate(time.Second),
					Grants: []token.Grant{{Match: "private-user.42"}, {Match: "presence-room.*", ClientEvents: true}},
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%+v, want %+v", got, want)
				}
			}
		})
	}
}

func TestATokenNeedsNothingButExp(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	got := verify(t, newApp(s), s.token(t, in("")))
	if want := (&token.Token{Expires: now.Add(time.Hour), Key: s.ID}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestTheKeyIsFoundWithoutKid(t *testing.T) {
	var signers []signer
	for _, algorithm := range append(algorithms(), algorithms()...) {
		signers = append(signers, newSigner(t, algorithm))
	}
	publish, _ := keystore.NewKey(keystore.Publish, "")
	app := newApp(signers...)
	app.Keys = append(app.Keys, publish)
	for _, s := range signers {
		got := verify(t, app, s.token(t, in("")))
		if s.Algorithm == keystore.RS256 { // both have the same key
			continue
		}
		if got.Key != s.ID {
			t.Errorf("%s: the key is %s, not %s", s.Algorithm, got.Key, s.ID)
		}
	}
	other := newSigner(t, keystore.ES256)
	refused(t, app, other.token(t, in("")), "invalid_token", "any of the app's signing keys", "private key")
}

func TestAllKeysOfAnAppAreTried(t *testing.T) {
	const most = 50
	var signers []signer
	for range most {
		signers = append(signers, newSigner(t, keystore.HS256))
	}
	last := signers[most-1]
	if got := verify(t, newApp(signers...), last.token(t, in(""))); got.Key != last.ID {
		t.Errorf("the key is %s", got.Key)
	}
}

func TestKidChoosesTheKey(t *testing.T) {
	a, b := newSigner(t, keystore.HS256), newSigner(t, keystore.HS256)
	app := newApp(a, b)
	header := `{"alg":"HS256","kid":"` + b.ID + `"}`
	if got := verify(t, app, b.sign(t, header, in(""))); got.Key != b.ID {
		t.Errorf("the key is %s", got.Key)
	}
	refused(t, app, a.sign(t, header, in("")), "invalid_token", "the signing key "+b.ID, "another key signed it", "sign_live_…")
}

func TestAKeyThatIsNotValidAnyMoreVerifiesNothing(t *testing.T) {
	s, other := newSigner(t, keystore.HS256), newSigner(t, keystore.HS256)
	header := `{"alg":"HS256","kid":"` + s.ID + `"}`
	expired, revoked := s, s
	expired.Expires, revoked.Revoked = now, now
	for _, with := range [][]signer{nil, {other}, {other, newSigner(t, keystore.HS256)}} {
		named, unnamed := s.sign(t, header, in("")), s.token(t, in(""))
		refused(t, newApp(append(with, expired)...), named, "invalid_token", "The signing key "+s.ID+" has expired", "caddy realtime key add app_0123456789abcdefghij --kind sign")
		refused(t, newApp(append(with, revoked)...), named, "invalid_token", "The signing key "+s.ID+" was revoked", "--kind sign")
		words := "signature is not of"
		if with == nil {
			words = "All signing keys of the app are expired or revoked"
		}
		refused(t, newApp(append(with, expired)...), unnamed, "invalid_token", words)
		refused(t, newApp(append(with, revoked)...), unnamed, "invalid_token", words)
	}
	soon := s
	soon.Expires = now.Add(time.Nanosecond)
	verify(t, newApp(soon), s.sign(t, header, in("")))
}

func TestAnAppWithoutSigningKeySaysHowToMakeOne(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp()
	publish, _ := keystore.NewKey(keystore.Publish, "")
	app.Keys = []keystore.Key{publish}
	for _, raw := range []string{s.token(t, in("")), s.sign(t, `{"alg":"HS256","kid":"`+publish.ID+`"}`, in(""))} {
		refused(t, app, raw, "invalid_token", "The app has no signing key", "caddy realtime key add app_0123456789abcdefghij --kind sign")
	}
}

func TestATokenExpiresHalfAMinuteLate(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	for _, ago := range []time.Duration{0, time.Second, 29 * time.Second, keystore.TokenLeeway - time.Millisecond} {
		got := verify(t, app, s.token(t, `{"exp":`+at(-ago)+`}`))
		if d := got.Expires.Sub(now.Add(-ago)); d.Abs() > time.Microsecond {
			t.Errorf("expires at %s, want %s", got.Expires, now.Add(-ago))
		}
	}
	for _, exp := range []string{at(-keystore.TokenLeeway), at(-time.Minute), at(-24 * 365 * time.Hour), "0", "0.5", "1e3"} {
		refused(t, app, s.token(t, `{"exp":`+exp+`}`), "token_expired", "The token expired at ", "Z.", "Get a new one")
	}
}

func TestATokenExpiresWithinADay(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	for _, ahead := range []time.Duration{time.Second, 24 * time.Hour, 24*time.Hour + 30*time.Second} {
		verify(t, app, s.token(t, `{"exp":`+at(ahead)+`}`))
	}
	for _, exp := range []string{at(24*time.Hour + 31*time.Second), at(24*time.Hour + 30*time.Second + time.Millisecond), at(24 * 365 * time.Hour), "253402300799"} {
		refused(t, app, s.token(t, `{"exp":`+exp+`}`), "invalid_token", "more than 24h ahead")
	}
	refused(t, app, s.token(t, `{}`), "invalid_token", "The token has no exp", "at most 24h ahead")
}

func TestATokenFromTheFutureIsNotValidYet(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	for _, claim := range []string{"nbf", "iat"} {
		for _, valid := range []string{"0", "1e9", at(0), at(29 * time.Second), at(30 * time.Second)} {
			verify(t, app, s.token(t, in(`"`+claim+`":`+valid)))
		}
		for _, ahead := range []time.Duration{30*time.Second + time.Millisecond, time.Minute, 1000 * time.Hour} {
			refused(t, app, s.token(t, in(`"`+claim+`":`+at(ahead))), "invalid_token", "The token's "+claim, "in the future", "clock")
		}
	}
}

func TestTimesAreSecondsWithAFraction(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	for literal, want := range map[string]time.Time{
		"1800000060": time.Unix(1800000060, 0), "1800000060.25": time.Unix(1800000060, 250_000_000), "1.80000006e9": time.Unix(1800000060, 0),
		"18000000605E-1": time.Unix(1800000060, 500_000_000), "1800000060.000000000000001": time.Unix(1800000060, 0),
	} {
		if got := verify(t, app, s.token(t, `{"exp":`+literal+`}`)); !got.Expires.Equal(want) {
			t.Errorf("%s is %s, want %s", literal, got.Expires, want)
		}
	}
	for _, claim := range []string{"exp", "nbf", "iat"} {
		for literal, words := range map[string]string{
			"1800000000000": "not milliseconds", "1e400": "1970 to 9999", "-1": "1970 to 9999", "-1e400": "1970 to 9999",
			"253402300800": "1970 to 9999", strings.Repeat("9", 400): "1970 to 9999",
			`"1800000060"`: "is a string. It must be a number", "null": "is null", "true": "is a boolean", "[1800000060]": "is an array", "{}": "is an object",
		} {
			refused(t, app, s.token(t, `{"`+claim+`":`+literal+`}`), "invalid_token", "The token's "+claim, words, "seconds since 1970")
		}
	}
}

func TestAUserIsUpTo128PrintableCharacters(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	for _, user := range []string{"4", "user.42", "ann@shop.example", "Ann Ölmühle", "用户", "🙂", strings.Repeat("é", 128), "<b>", "{{.}}", "*"} {
		quoted, err := json.Marshal(user)
		if err != nil {
			t.Fatal(err)
		}
		if got := verify(t, app, s.token(t, in(`"sub":`+string(quoted)))); got.User != user {
			t.Errorf("%q became %q", user, got.User)
		}
	}
	for literal, words := range map[string]string{
		`""`: "is empty", `"` + strings.Repeat("é", 129) + `"`: "has 129 characters; at most 128", `"a\nb"`: "at character 2", `"\u0000"`: "at character 1",
		`"a\u202eb"`: "at character 2", `"\ud800"`: "half of a surrogate pair", `"a\udc00"`: "half of a surrogate pair",
		"42": "is a number. It must be a string", "null": "is null", "[]": "is an array",
	} {
		refused(t, app, s.token(t, in(`"sub":`+literal)), "invalid_token", "The token's sub", words)
	}
}

func TestChannelsAreNamesAndPatterns(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	long := strings.Repeat("a", 200)
	for list, want := range map[string][]token.Grant{
		`[]`:                      nil,
		`["a"]`:                   {{Match: "a"}},
		`["*"]`:                   {{Match: "*"}},
		` [ "a" , {"match":"b"}]`: {{Match: "a"}, {Match: "b"}},
		`["\u0061.*"]`:            {{Match: "a.*"}},
		`[{"match":"a*","client_events":true},{"client_events":false,"match":"b"}]`: {{Match: "a*", ClientEvents: true}, {Match: "b"}},
		`["` + long + `","` + long + `*"]`:                                          {{Match: long}, {Match: long + "*"}},
		`["AZaz09_-=@,.;:/"]`:                                                       {{Match: "AZaz09_-=@,.;:/"}},
	} {
		if got := verify(t, app, s.token(t, in(`"channels":`+list))); !reflect.DeepEqual(got.Grants, want) {
			t.Errorf("%s: %+v, want %+v", list, got.Grants, want)
		}
	}
	for list, words := range map[string][]string{
		`null`: {"channels is null"}, `"a"`: {"channels is a string", "must be a list"}, `{"a":true}`: {"channels is an object"}, `1`: {"channels is a number"},
		`[1]`: {"channels[0] is a number"}, `["a",null]`: {"channels[1] is null"}, `[["a"]]`: {"channels[0] is an array"},
		`[""]`: {"channels[0]"}, `["a*b"]`: {`channels[0] is "a*b"`, "one *"}, `["**"]`: {"one *"}, `["*.a"]`: {"one *"}, `["a**"]`: {"one *"}, `["*a*"]`: {"one *"},
		`["a b"]`: {`which no channel matches`, "at character 2"}, `["a\u0000*"]`: {"at character 2"}, `["é"]`: {"at character 1"}, `["\ud800"]`: {"no channel"},
		`["a.?"]`: {"at character 3"}, `["a","orders.{id}"]`: {"channels[1]", "at character 8"}, `["[ab]*"]`: {"at character 1"}, `["#"]`: {"at character 1"},
		`["` + long + `a"]`: {"201 characters"}, `["` + long + `a*"]`: {"201 characters"},
		`[{}]`: {"channels[0] has no match"}, `[{"client_events":true}]`: {"has no match"}, `[{"match":null}]`: {"channels[0].match is null"},
		`[{"match":"a","client_events":null}]`: {"channels[0].client_events is null"}, `[{"match":"a","client_events":1}]`: {"client_events is a number", "true or false"},
		`[{"match":"a","match":"b"}]`: {`channels[0] has "match" twice`}, `[{"match":"a","Match":"b"}]`: {`unknown field "Match"`},
		`[{"match":"a","presence":true}]`: {`unknown field "presence"`, "match and client_events"}, `[{"match":["a"]}]`: {"match is an array"},
	} {
		refused(t, app, s.token(t, in(`"channels":`+list)), "invalid_token", words...)
	}
}

func TestATokenHasAtMost100Channels(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	list := `"a"` + strings.Repeat(`,"a"`, 99)
	if got := verify(t, app, s.token(t, in(`"channels":[`+list+`]`))); len(got.Grants) != 100 {
		t.Errorf("%d grants", len(got.Grants))
	}
	refused(t, app, s.token(t, in(`"channels":[`+list+`,"a"]`)), "invalid_token", "more than 100 elements")
}

func TestATokenAllowsWhatAnyOfItsGrantsDoes(t *testing.T) {
	got := token.Token{Grants: []token.Grant{
		{Match: "orders.*"}, {Match: "orders.42", ClientEvents: true}, {Match: "chat"}, {Match: "room.*", ClientEvents: true}, {Match: "room.1"},
	}}
	for channel, want := range map[string][2]bool{
		"orders.42": {true, true}, "orders.421": {false, true}, "orders.": {false, true}, "orders": {}, "Orders.42": {}, "xorders.42": {},
		"chat": {false, true}, "chat2": {}, "cha": {}, "room.1": {true, true}, "room.2": {true, true}, "*": {}, "orders*": {}, "": {},
	} {
		if events, ok := got.Allows(channel); [2]bool{events, ok} != want {
			t.Errorf("%q: %t, %t; want %v", channel, events, ok, want)
		}
	}
	if events, ok := new(token.Token).Allows("a"); events || ok {
		t.Error("a token without channels allows one")
	}
	all := token.Token{Grants: []token.Grant{{Match: "*"}}}
	if events, ok := all.Allows("private-user.7"); events || !ok {
		t.Error("* does not allow everything")
	}
}

func TestInfoIsAnyJSONOfAUser(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	for sent, want := range map[string]string{
		`{"name":"Ann"}`: `{"name":"Ann"}`, ` { "b" : 1.00 , "a" : [ 1e400 ] } `: `{"b":1.00,"a":[1e400]}`, `"x"`: `"x"`, `0`: `0`, `false`: `false`, `[]`: `[]`,
		`"</script><b>{{7*7}}\u2028"`: `"</script><b>{{7*7}}\u2028"`, `null`: ``, `"` + strings.Repeat("a", 1022) + `"`: `"` + strings.Repeat("a", 1022) + `"`,
		`[` + strings.Repeat(" ", 2000) + `]`: `[]`,
	} {
		got := verify(t, app, s.token(t, in(`"sub":"42","info":`+sent)))
		if string(got.Info) != want || (got.Info == nil) != (want == "") {
			t.Errorf("%s is %s, want %s", sent, got.Info, want)
		}
	}
	refused(t, app, s.token(t, in(`"sub":"42","info":"`+strings.Repeat("a", 1023)+`"`)), "invalid_token", "The token's info has 1025 bytes; at most 1024")
	refused(t, app, s.token(t, in(`"info":{}`)), "invalid_token", "The token has info", "no sub")
	verify(t, app, s.token(t, in(`"info":null`)))
}

func TestTokensIssuedUntilTheRevocationAreRevoked(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	app.RevokedUsers = map[string]time.Time{"42": now.Truncate(time.Second).Add(100 * time.Millisecond), "44": now.Add(-time.Hour)}
	second := now.Unix()
	for _, iat := range []string{"", `,"iat":0`, fmt.Sprintf(`,"iat":%d`, second-1), fmt.Sprintf(`,"iat":%d`, second), fmt.Sprintf(`,"iat":%d.9`, second)} {
		refused(t, app, s.token(t, in(`"sub":"42"`+iat)), "token_revoked", "Log in again")
	}
	verify(t, app, s.token(t, in(fmt.Sprintf(`"sub":"42","iat":%d`, second+1))))
	verify(t, app, s.token(t, in(fmt.Sprintf(`"sub":"44","iat":%d`, second))))
	refused(t, app, s.token(t, in(`"sub":"44"`)), "token_revoked")
	for _, other := range []string{"", `"sub":"43"`, `"sub":"042"`} {
		verify(t, app, s.token(t, in(other)))
	}
	refused(t, app, s.token(t, `{"sub":"42","exp":1}`), "token_expired")
}
