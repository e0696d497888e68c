package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/random"
)

// Algorithm is how the tokens of a signing key are signed (RFC 7518, section 3.1;
// RFC 8037). A key pins its algorithm, whatever a token claims.
type Algorithm string

// The algorithms. Only of HS256 is the secret here.
const (
	HS256 Algorithm = "HS256"
	EdDSA Algorithm = "EdDSA"
	ES256 Algorithm = "ES256"
	RS256 Algorithm = "RS256"
)

// minRSA and maxRSA bound the size of an RSA key, in bits: a smaller one can be
// broken (RFC 7518, section 3.3), a larger one makes verifying slow.
const (
	minRSA = 2048
	maxRSA = 8192
)

// ErrPublicKey is wrapped by an error that says why a public key is of no use.
var ErrPublicKey = errors.New("invalid public key")

// AlgorithmOf returns the algorithm that a public key pins, or an error that wraps
// [ErrPublicKey].
func AlgorithmOf(public crypto.PublicKey) (Algorithm, error) {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return EdDSA, nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return "", fmt.Errorf("%w: its curve is %s; ES256 needs P-256", ErrPublicKey, k.Curve.Params().Name)
		}
		return ES256, nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSA || bits > maxRSA {
			return "", fmt.Errorf("%w: it has %d bits; RS256 needs %d to %d", ErrPublicKey, bits, minRSA, maxRSA)
		}
		if k.E < 3 || k.E%2 == 0 { // with 1, everybody could sign
			return "", fmt.Errorf("%w: its exponent is %d; it must be odd and at least 3", ErrPublicKey, k.E)
		}
		return RS256, nil
	}
	return "", fmt.Errorf("%w: it is a %T; use Ed25519, P-256 or RSA", ErrPublicKey, public)
}

// NewPublicKey returns a signing key to store whose private half somebody else
// has. The errors wrap [ErrPublicKey].
func NewPublicKey(public crypto.PublicKey, label string) (Key, error) {
	algorithm, err := AlgorithmOf(public)
	if err != nil {
		return Key{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	hash := sha256.Sum256(der)
	return Key{
		ID: "key_" + random.Text(20), Kind: Sign, Label: label, Hash: hash[:], Created: time.Now().UTC(),
		Last4: hex.EncodeToString(hash[:2]), Algorithm: algorithm, Verifier: der, public: public,
	}, nil
}

// Public returns the public key of a signing key, or nil for HS256.
func (k *Key) Public() crypto.PublicKey { return k.public }

// validateSign checks a key's algorithm and verifier, and reads the public key.
func (k *Key) validateSign() error {
	if k.Kind != Sign {
		if k.Algorithm != "" || k.Verifier != nil {
			return fmt.Errorf("it is a %s key and has an algorithm", k.Kind)
		}
		return nil
	}
	sum := sha256.Sum256(k.Verifier)
	if string(sum[:]) != string(k.Hash) {
		return errors.New("its hash is not that of what verifies its tokens")
	}
	if k.Algorithm == HS256 {
		if !strings.HasPrefix(string(k.Verifier), Sign.Prefix()) {
			return errors.New("its secret is none")
		}
		return nil
	}
	if k.public != nil {
		return nil
	}
	public, err := x509.ParsePKIXPublicKey(k.Verifier)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	algorithm, err := AlgorithmOf(public)
	if err != nil {
		return err
	}
	if algorithm != k.Algorithm {
		return fmt.Errorf("it is a key for %s, not for %s", algorithm, k.Algorithm)
	}
	k.public = public
	return nil
}

// validateScopes checks that only publish keys have scopes, and only known ones.
func (k *Key) validateScopes() error {
	for _, scope := range k.Scopes {
		if k.Kind != Publish || scope != ScopePublish && scope != ScopeManage {
			return fmt.Errorf("a %s key has the scope %q", k.Kind, scope)
		}
	}
	return nil
}

// SigningKeys returns the app's valid signing keys.
func (a *App) SigningKeys(now time.Time) []*Key {
	var keys []*Key
	for i := range a.Keys {
		if k := &a.Keys[i]; k.Kind == Sign && k.Check(now) == nil {
			keys = append(keys, k)
		}
	}
	return keys
}
