package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/token"
)

// now is when the tests' tokens are verified.
var now = time.Unix(1_800_000_000, 500_000_000).UTC()

// A signer is a backend with a signing key, which signs with golang-jwt.
type signer struct {
	keystore.Key
	method  jwt.SigningMethod
	private any
}

// rsaPrivate takes long to make.
var rsaPrivate = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func algorithms() []keystore.Algorithm {
	return []keystore.Algorithm{keystore.HS256, keystore.EdDSA, keystore.ES256, keystore.RS256}
}

func newSigner(t testing.TB, algorithm keystore.Algorithm) signer {
	t.Helper()
	s := signer{method: jwt.GetSigningMethod(string(algorithm))}
	var public crypto.PublicKey
	var err error
	switch algorithm {
	case keystore.HS256:
		key, secret := keystore.NewKey(keystore.Sign, "")
		s.Key, s.private = key, []byte(secret)
		return s
	case keystore.EdDSA:
		public, s.private, err = ed25519.GenerateKey(rand.Reader)
	case keystore.ES256:
		var private *ecdsa.PrivateKey
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		public, s.private = &private.PublicKey, private
	case keystore.RS256:
		var private *rsa.PrivateKey
		private, err = rsaPrivate()
		public, s.private = &private.PublicKey, private
	}
	if err != nil {
		t.Fatal(err)
	}
	if s.Key, err = keystore.NewPublicKey(public, ""); err != nil {
		t.Fatal(err)
	}
	return s
}

// sign signs any header and payload, in the form of a JWT.
func (s signer) sign(t testing.TB, header, payload string) string {
	t.Helper()
	text := encode(header) + "." + encode(payload)
	signature, err := s.method.Sign(text, s.private)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(string(signature))
}

// token signs claims as a backend does.
func (s signer) token(t testing.TB, payload string) string {
	t.Helper()
	return s.sign(t, `{"alg":"`+string(s.Algorithm)+`","typ":"JWT"}`, payload)
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func newApp(signers ...signer) *keystore.App {
	app := &keystore.App{ID: "app_0123456789abcdefghij", Name: "shop"}
	for _, s := range signers {
		app.Keys = append(app.Keys, s.Key)
	}
	return app
}

// verify returns what a valid token says.
func verify(t *testing.T, app *keystore.App, raw string) *token.Token {
	t.Helper()
	verified, err := token.Verify(app, raw, now)
	if err != nil {
		t.Fatalf("%s: %v", decoded(raw), err)
	}
	return verified
}

// refused checks that a token is refused with a code, and with a message that has all
// the words and does not have the token.
func refused(t *testing.T, app *keystore.App, raw, code string, words ...string) {
	t.Helper()
	verified, err := token.Verify(app, raw, now)
	if err == nil {
		t.Errorf("%s is accepted: %+v", decoded(raw), verified)
		return
	}
	e, ok := errors.AsType[*apierr.Error](err)
	if !ok || verified != nil || e.Code != code || e.Status != 401 {
		t.Errorf("%s: %+v, %v; want %s", decoded(raw), verified, err, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(e.Message, word) {
			t.Errorf("%s: the message %q does not have %q", decoded(raw), e.Message, word)
		}
	}
	for part := range strings.SplitSeq(raw, ".") {
		if len(part) > 10 && strings.Contains(e.Message, part) {
			t.Errorf("the message %q repeats the token", e.Message)
		}
	}
	if len(e.Message) > 500 {
		t.Errorf("the message has %d bytes: %s", len(e.Message), e.Message)
	}
}

// decoded shows a token in a test's message.
func decoded(raw string) string {
	if len(raw) > 2000 {
		return raw[:100] + "…"
	}
	shown := make([]string, 0, 3)
	for part := range strings.SplitSeq(raw, ".") {
		if text, err := base64.RawURLEncoding.DecodeString(part); err == nil && json.Valid(text) {
			part = string(text)
		}
		shown = append(shown, part)
	}
	return strings.Join(shown, " . ")
}
