package manage_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// keyPairs are private keys whose public halves verify tokens, by algorithm.
func keyPairs(t *testing.T) map[keystore.Algorithm]crypto.Signer {
	t.Helper()
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[keystore.Algorithm]crypto.Signer{keystore.EdDSA: edwards, keystore.ES256: curveKey(t, elliptic.P256()), keystore.RS256: rsaKey(t, 2048)}
}

func curveKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// pemOf returns a block with what a key marshals to.
func pemOf(t *testing.T, kind string, key any, marshal func(any) ([]byte, error)) string {
	t.Helper()
	der, err := marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func publicPEM(t *testing.T, key any) string {
	t.Helper()
	return pemOf(t, "PUBLIC KEY", key, x509.MarshalPKIXPublicKey)
}

func privatePEM(t *testing.T, key any) string {
	t.Helper()
	return pemOf(t, "PRIVATE KEY", key, x509.MarshalPKCS8PrivateKey)
}

func jsonOf(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// jwk returns a JWK, with fields that are added or replaced.
func jwk(t *testing.T, key any, more ...string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(jsonOf(t, jose.JSONWebKey{Key: key})), &fields); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(more); i += 2 {
		fields[more[i]] = more[i+1]
	}
	return jsonOf(t, fields)
}

func TestPublicKeyIsRegisteredInEveryForm(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	for algorithm, pair := range keyPairs(t) {
		public := pair.Public()
		forms := []string{
			jsonOf(t, publicPEM(t, public)),
			jsonOf(t, "\n"+strings.ReplaceAll(publicPEM(t, public), "\n", "\r\n")+"\n"),
			jwk(t, public),
			jwk(t, public, "use", "sig", "alg", string(algorithm), "kid", "theirs"),
		}
		if r, ok := public.(*rsa.PublicKey); ok {
			forms = append(forms, jsonOf(t, pemOf(t, "RSA PUBLIC KEY", r, func(any) ([]byte, error) { return x509.MarshalPKCS1PublicKey(r), nil })))
		}
		for _, form := range forms {
			w := s.Do("POST", "/realtime/keys/"+app.ID, `{"kind":"sign","label":"idp","public_key":`+form+`}`)
			var made struct {
				manage.Key
				Secret *string `json:"key"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil {
				t.Fatal(err)
			}
			if w.Code != http.StatusCreated || made.Algorithm != algorithm || made.Kind != keystore.Sign || made.Label != "idp" || made.Secret != nil || made.Scopes != nil {
				t.Fatalf("%s: %d %s", form, w.Code, w.Body)
			}
			keys := s.MustHold(t, app.ID).Keys
			stored := keys[len(keys)-1]
			if equal, ok := stored.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !equal.Equal(public) || stored.ID == "theirs" {
				t.Errorf("%s is stored as %+v", form, stored)
			}
		}
	}
}

func TestPublicKeyThatCannotVerifyTokensIsRefusedWithTheCure(t *testing.T) {
	pairs := keyPairs(t)
	edwards, p256, rsa2048 := pairs[keystore.EdDSA], pairs[keystore.ES256], pairs[keystore.RS256]
	certificate := func() string {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a"}, NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, p256.Public(), p256)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}()
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := publicPEM(t, p256.Public())
	damaged := strings.Replace(good, "\nM", "\nA", 1)
	exponent := &rsa.PublicKey{N: rsa2048.(*rsa.PrivateKey).N, E: 1}
	const private = "public_key is a private key, which must not leave the backend that signs. Make another pair, and send its public half."
	const secret = "Omit public_key: the gateway then makes a secret for HS256."
	s := managetest.New(t)
	app := s.Create(t)
	for _, c := range []struct{ name, key, says string }{
		{"a number", `5`, "public_key is a number. Send PEM as a string, or a JWK as an object."},
		{"a list", `[]`, "public_key is an array."},
		{"true", `true`, "public_key is a boolean."},
		{"an empty string", `""`, "public_key is not PEM. It begins with -----BEGIN PUBLIC KEY-----, on a line of its own."},
		{"text", `"ssh-ed25519 AAAA ann@example.com"`, "public_key is not PEM."},
		{"PEM on one line", jsonOf(t, strings.ReplaceAll(good, "\n", " ")), "on a line of its own"},
		{"PEM with written \\n", jsonOf(t, strings.ReplaceAll(good, "\n", `\n`)), "on a line of its own"},
		{"damaged PEM", jsonOf(t, damaged), "Use Ed25519, P-256 or RSA."},
		{"an empty block", jsonOf(t, "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"), "public_key cannot be read: asn1"},
		{"two blocks", jsonOf(t, good+publicPEM(t, edwards.Public())), "more than one PEM block, or text after it. Send one block and nothing else."},
		{"text after a block", jsonOf(t, good+"x"), "or text after it"},
		{"a certificate", jsonOf(t, certificate), "public_key is a certificate. Send its key alone: openssl x509 -pubkey -noout -in cert.pem"},
		{"another block", jsonOf(t, "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n"), `PEM of the type "DH PARAMETERS". Its type must be PUBLIC KEY.`},
		{"P-384", jsonOf(t, publicPEM(t, curveKey(t, elliptic.P384()).Public())), "public_key cannot be used: its curve is P-384; ES256 needs P-256."},
		{"P-521 as JWK", jwk(t, curveKey(t, elliptic.P521()).Public()), "its curve is P-521"},
		{"RSA of 1024 bits", jsonOf(t, publicPEM(t, rsaKey(t, 1024).Public())), "it has 1024 bits; RS256 needs 2048 to 8192."},
		{"RSA of 1024 bits as JWK", jwk(t, rsaKey(t, 1024).Public()), "it has 1024 bits"},
		{"RSA with the exponent 1", jsonOf(t, publicPEM(t, exponent)), "its exponent is 1; it must be odd and at least 3."},
		{"X25519", jsonOf(t, publicPEM(t, exchange.PublicKey())), "use Ed25519, P-256 or RSA."},
		{"a private Ed25519 key", jsonOf(t, privatePEM(t, edwards)), private},
		{"a private P-256 key", jsonOf(t, privatePEM(t, p256)), private},
		{"a private RSA key", jsonOf(t, privatePEM(t, rsa2048)), private},
		{"a private key after its parameters", jsonOf(t, "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"+privatePEM(t, p256)), private},
		{"a private key after its public half", jsonOf(t, good+privatePEM(t, p256)), private},
		{"an encrypted private key", jsonOf(t, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), private},
		{"a damaged private key", jsonOf(t, "-----BEGIN OPENSSH PRIVATE KEY-----\n?\n"), private},
		{"a JWK in a string", jsonOf(t, jwk(t, p256.Public())), "public_key is JSON in a string. Send a JWK as an object, without quotes around it."},
		{"a private Ed25519 JWK", jwk(t, edwards), private},
		{"a private P-256 JWK", jwk(t, p256), private},
		{"a private RSA JWK", jwk(t, rsa2048), private},
		{"a private RSA JWK without primes", jwk(t, rsa2048.Public(), "d", "AAAA"), private},
		{"a symmetric JWK", jwk(t, []byte(strings.Repeat("k", 32))), secret},
		{"a symmetric JWK without its secret", `{"kty":"oct"}`, secret},
		{"a JWK set", `{"keys":[` + jwk(t, p256.Public()) + `]}`, "public_key is a JWK set. Send one of its keys: the object with kty."},
		{"no JWK", `{}`, "public_key is not a JWK: missing json web key type. Use Ed25519, P-256 or RSA."},
		{"an unknown type", `{"kty":"AKP"}`, "Use Ed25519, P-256 or RSA."},
		{"a type that is none", `{"kty":5}`, "public_key is not a JWK"},
		{"a JWK without coordinates", `{"kty":"EC","crv":"P-256"}`, "public_key is not a JWK"},
		{"a point that is not on the curve", jwk(t, p256.Public(), "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "public_key is not a JWK"},
		{"a JWK for encryption", jwk(t, rsa2048.Public(), "use", "enc"), `public_key is a JWK for the use "enc". Send one for signatures`},
		{"a JWK for another algorithm", jwk(t, rsa2048.Public(), "alg", "PS256"), `for the algorithm "PS256". Tokens of such a key must be signed with RS256`},
		{"a JWK for HS256", jwk(t, rsa2048.Public(), "alg", "HS256"), `for the algorithm "HS256"`},
	} {
		w := s.Do("POST", "/realtime/keys/"+app.ID, `{"kind":"sign","public_key":`+c.key+`}`)
		var refusal struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &refusal); err != nil {
			t.Fatal(err)
		}
		if w.Code != http.StatusBadRequest || refusal.Error.Code != "invalid_request" || !strings.Contains(refusal.Error.Message, c.says) {
			t.Errorf("%s: %d %s, want %q", c.name, w.Code, refusal.Error.Message, c.says)
		}
		if n := len(s.MustHold(t, app.ID).Keys); n != 2 {
			t.Fatalf("%s is refused, but the app has %d keys", c.name, n)
		}
	}
}

func TestPublicKeyIsReplacedByAnother(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	pair := keyPairs(t)[keystore.EdDSA]
	w := s.Do("POST", "/realtime/keys/"+app.ID, `{"kind":"sign","public_key":`+jwk(t, pair.Public())+`}`)
	var made manage.IssuedKey
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	w = s.Do("POST", "/realtime/keys/"+app.ID+"/"+made.ID+"/rotate", `{"overlap":"24h"}`)
	if says := "its successor is made where tokens are signed. Add that one: POST /realtime/keys/" + app.ID; w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, k := range s.MustHold(t, app.ID).Keys {
		if !k.Expires.IsZero() {
			t.Errorf("the rotation that was refused leaves %+v", k)
		}
	}
	if w := s.Do("DELETE", "/realtime/keys/"+app.ID+"/"+made.ID, ""); w.Code != http.StatusNoContent {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestSigningSecretIsShownOnce(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	w := s.Do("POST", "/realtime/keys/"+app.ID, `{"kind":"sign","label":"backend","public_key":null,"scopes":null}`)
	var made manage.IssuedKey
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if made.Algorithm != keystore.HS256 || !strings.HasPrefix(made.Secret, "sign_live_") || made.Last4 != made.Secret[len(made.Secret)-4:] {
		t.Errorf("made %+v", made)
	}
	rotated := s.Do("POST", "/realtime/keys/"+app.ID+"/"+made.ID+"/rotate", `{"overlap":"1h"}`)
	var next manage.IssuedKey
	if err := json.Unmarshal(rotated.Body.Bytes(), &next); err != nil || rotated.Code != http.StatusCreated {
		t.Fatalf("%d %s", rotated.Code, rotated.Body)
	}
	if next.Algorithm != keystore.HS256 || next.Label != "backend" || next.Secret == made.Secret || !strings.HasPrefix(next.Secret, "sign_live_") {
		t.Errorf("rotated to %+v", next)
	}
	for _, path := range []string{"/realtime/apps", "/realtime/apps/" + app.ID, "/realtime/keys/" + app.ID} {
		shown := s.Do("GET", path, "").Body.String()
		if !strings.Contains(shown, made.ID) || !strings.Contains(shown, `"algorithm":"HS256"`) || strings.Contains(shown, made.Secret) || strings.Contains(shown, next.Secret) {
			t.Errorf("%s: %s", path, shown)
		}
	}
}

func TestScopesOfAPublishKey(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	for scopes, want := range map[string]string{
		`null`:                 `["publish"]`,
		`["publish"]`:          `["publish"]`,
		`["manage"]`:           `["manage"]`,
		`["manage","publish"]`: `["manage","publish"]`,
	} {
		w := s.Do("POST", "/realtime/keys/"+app.ID, `{"kind":"publish","scopes":`+scopes+`}`)
		var made manage.IssuedKey
		if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != http.StatusCreated || jsonOf(t, made.Scopes) != want {
			t.Fatalf("%s: %d %s", scopes, w.Code, w.Body)
		}
		rotated := s.Do("POST", "/realtime/keys/"+app.ID+"/"+made.ID+"/rotate", `{"overlap":"0s"}`)
		if rotated.Code != http.StatusCreated || !strings.Contains(rotated.Body.String(), `"scopes":`+want) {
			t.Errorf("%s, rotated: %d %s", scopes, rotated.Code, rotated.Body)
		}
		s.MustHold(t, app.ID)
	}
	before := len(s.MustHold(t, app.ID).Keys)
	for body, says := range map[string]string{
		`{"kind":"publish","scopes":[]}`:                    "A key without scopes is good for nothing. Omit scopes for a key that can only publish.",
		`{"kind":"publish","scopes":["admin"]}`:             `scopes are "publish" and "manage", each at most once: {"scopes":["publish","manage"]}.`,
		`{"kind":"publish","scopes":["Publish"]}`:           `scopes are "publish" and "manage"`,
		`{"kind":"publish","scopes":[""]}`:                  `scopes are "publish" and "manage"`,
		`{"kind":"publish","scopes":[null]}`:                `scopes are "publish" and "manage"`,
		`{"kind":"publish","scopes":["publish","publish"]}`: "each at most once",
		`{"kind":"publish","scopes":"manage"}`:              `scopes must be a list of scopes, ["publish","manage"], not a string.`,
		`{"kind":"publish","scopes":[5]}`:                   `scopes must be a list of scopes`,
		`{"kind":"publish","scopes":{"manage":true}}`:       `scopes must be a list of scopes, ["publish","manage"], not an object.`,
		`{"kind":"subscribe","scopes":["publish"]}`:         `scopes are of publish keys: send them with {"kind":"publish"}.`,
		`{"kind":"subscribe","scopes":[]}`:                  `scopes are of publish keys`,
		`{"kind":"sign","scopes":["manage"]}`:               `scopes are of publish keys`,
		`{"scopes":["manage"]}`:                             `kind is "publish", "subscribe" or "sign"`,
		`{"kind":"Sign"}`:                                   `kind is "publish", "subscribe" or "sign"`,
		`{"kind":"publish","public_key":{"kty":"oct"}}`:     "Omit public_key",
		`{"kind":"publish","public_key":` + jsonOf(t, publicPEM(t, curveKey(t, elliptic.P256()).Public())) + `}`: `public_key is for tokens: send it with {"kind":"sign"}.`,
	} {
		w := s.Do("POST", "/realtime/keys/"+app.ID, body)
		var refusal struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &refusal); err != nil {
			t.Fatal(err)
		}
		if w.Code != http.StatusBadRequest || refusal.Error.Code != "invalid_request" || !strings.Contains(refusal.Error.Message, says) {
			t.Errorf("%s: %d %s, want %q", body, w.Code, refusal.Error.Message, says)
		}
	}
	if n := len(s.MustHold(t, app.ID).Keys); n != before {
		t.Errorf("refused keys were made: %d are %d", before, n)
	}
}
