package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"
	"time"
)

// publicKeys returns one for each algorithm but HS256.
func publicKeys() map[Algorithm]crypto.PublicKey {
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return map[Algorithm]crypto.PublicKey{EdDSA: ed, ES256: newECDSA(elliptic.P256()), RS256: newRSA(2048)}
}

func newECDSA(curve elliptic.Curve) crypto.PublicKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return &key.PublicKey
}

func newRSA(bits int) crypto.PublicKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return &key.PublicKey
}

func TestAPublicKeyPinsItsAlgorithm(t *testing.T) {
	for want, public := range publicKeys() {
		key, err := NewPublicKey(public, "")
		if err != nil || key.Algorithm != want || key.Kind != Sign || key.Public() == nil || len(key.Last4) != 4 {
			t.Errorf("%s: %+v, %v", want, key, err)
		}
	}
	for why, public := range map[string]crypto.PublicKey{
		"P-384": newECDSA(elliptic.P384()), "[]uint8": []byte("a secret"), "uses weak": nil,
	} {
		if _, err := NewPublicKey(public, ""); !errors.Is(err, ErrPublicKey) {
			t.Errorf("%s: %v", why, err)
		}
	}
}

// A record whose parts do not fit together is not read: a token must never be
// verified with something else than its key.
func TestSigningKeysThatDoNotFitAreRefused(t *testing.T) {
	for name, change := range map[string]func(k *Key){
		"another algorithm":      func(k *Key) { k.Algorithm = ES256 },
		"HS256 of a public":      func(k *Key) { k.Algorithm = HS256 },
		"no algorithm":           func(k *Key) { k.Algorithm = "" },
		"none":                   func(k *Key) { k.Algorithm = "none" },
		"another verifier":       func(k *Key) { k.Verifier = append([]byte{}, k.Verifier[1:]...) },
		"no verifier":            func(k *Key) { k.Verifier = nil },
		"a publish key":          func(k *Key) { k.Kind = Publish },
		"a key with a scope":     func(k *Key) { k.Scopes = []Scope{ScopePublish} },
		"a hash that is not its": func(k *Key) { k.Hash[0]++ },
	} {
		key, err := NewPublicKey(publicKeys()[EdDSA], "")
		if err != nil {
			t.Fatal(err)
		}
		change(&key)
		key.public = nil
		if _, err := Encode(&App{ID: "app", Keys: []Key{key}}); err == nil {
			t.Errorf("%s is stored", name)
		}
	}
	secret, _ := NewKey(Sign, "")
	secret.Algorithm = EdDSA
	if _, err := Encode(&App{ID: "app", Keys: []Key{secret}}); err == nil {
		t.Error("a secret is stored as a public key")
	}
}

func TestSigningKeysHaveTheLifeOfKeys(t *testing.T) {
	registry := open(t, t.TempDir())
	made, err := registry.Create("shop")
	if err != nil {
		t.Fatal(err)
	}
	issued, err := registry.AddKey(made.App.ID, KeySpec{Kind: Sign, Label: "web"})
	if err != nil || !strings.HasPrefix(issued.Secret, "sign_live_") {
		t.Fatalf("%+v, %v", issued, err)
	}
	rotated, err := registry.RotateKey(made.App.ID, issued.Key.ID, time.Hour)
	if err != nil || rotated.Key.Kind != Sign || rotated.Key.Label != "web" || rotated.Secret == issued.Secret {
		t.Fatalf("%+v, %v", rotated, err)
	}
	now := time.Now()
	if n := len(rotated.App.SigningKeys(now)); n != 2 {
		t.Errorf("%d keys sign within the overlap, not 2", n)
	}
	if n := len(rotated.App.SigningKeys(now.Add(2 * time.Hour))); n != 1 {
		t.Errorf("%d keys sign after it, not 1", n)
	}
	revoked, err := registry.RevokeKey(made.App.ID, rotated.Key.ID)
	if err != nil || len(revoked.SigningKeys(now.Add(2*time.Hour))) != 0 {
		t.Errorf("a revoked key signs: %v", err)
	}
	if _, err := rotated.App.Check(Publish, rotated.Secret, now); !errors.Is(err, ErrWrongKind) {
		t.Errorf("a signing key as a publish key: %v", err)
	}
	if _, err := rotated.App.Check(Subscribe, rotated.Secret, now); !errors.Is(err, ErrWrongKind) {
		t.Errorf("a signing key as a subscribe key: %v", err)
	}

	public, err := registry.AddKey(made.App.ID, KeySpec{Kind: Sign, Public: publicKeys()[ES256]})
	if err != nil || public.Secret != "" || public.Key.Algorithm != ES256 {
		t.Fatalf("%+v, %v", public, err)
	}
	if _, err := registry.RotateKey(made.App.ID, public.Key.ID, time.Hour); !errors.Is(err, ErrNoSecret) {
		t.Errorf("a public key is rotated: %v", err)
	}
}

// Revoked users are remembered as long as a token can live, and survive a restart.
func TestRevokedUsersAreRememberedAsLongAsTokensLive(t *testing.T) {
	dir := t.TempDir()
	registry := open(t, dir)
	made, err := registry.Create("shop")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	for user, at := range map[string]time.Time{"old": now.Add(-25 * time.Hour), "new": now.Add(-23 * time.Hour), "42": now} {
		if _, err := registry.RevokeUser(made.App.ID, user, at); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := registry.RevokeUser(made.App.ID, "42", now); err != nil {
		t.Fatal(err)
	}
	if err := registry.Close(); err != nil {
		t.Fatal(err)
	}
	app, _ := open(t, dir).App(made.App.ID)
	if len(app.RevokedUsers) != 2 || !app.RevokedUsers["42"].Equal(now) || app.RevokedUsers["new"].IsZero() {
		t.Errorf("%v", app.RevokedUsers)
	}
}
