package keystore

import (
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/random"
)

// Kind says what a key is for.
type Kind string

// The kinds of keys.
const (
	Publish   Kind = "publish"   // for backends: can only publish
	Subscribe Kind = "subscribe" // for clients: can only connect and subscribe
	Sign      Kind = "sign"      // for backends: signs the tokens of clients
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{Publish, Subscribe, Sign} }

// Prefix returns the prefix of this kind's keys, "pk_live_", "sub_live_" or
// "sign_live_", so that people and programs can tell them apart.
func (k Kind) Prefix() string {
	switch k {
	case Publish:
		return "pk_live_"
	case Sign:
		return "sign_live_"
	case Subscribe:
	}
	return "sub_live_"
}

// KindOf returns the kind of key that a secret begins like, or "".
func KindOf(secret string) Kind {
	for _, kind := range Kinds() {
		if strings.HasPrefix(secret, kind.Prefix()) {
			return kind
		}
	}
	return ""
}

// A Scope is something that a publish key is good for.
type Scope string

// The scopes. A key without any has ScopePublish.
const (
	ScopePublish Scope = "publish" // to publish
	ScopeManage  Scope = "manage"  // to read and change channels, connections and users
)

// Key is the stored part of a key, which is not enough to use it.
type Key struct {
	// ID is "key_" followed by 20 letters and digits.
	ID string

	Kind  Kind
	Label string // for people, may be empty

	// Scopes are what a publish key is good for, see [Key.Has].
	Scopes []Scope

	// Hash is the key's SHA-256. It is as hard to invert as the key is to
	// guess: unlike a password, a key has 190 random bits.
	Hash []byte

	// Last4 is the key's last four characters, by which people recognise it; of a
	// public key, of its hash.
	Last4 string

	// Algorithm is how a signing key's tokens are signed.
	Algorithm Algorithm

	// Verifier is what verifies a signing key's tokens: the key itself for HS256,
	// which is therefore a secret, or a public key (PKIX, DER).
	Verifier []byte

	public crypto.PublicKey // of Verifier

	Created time.Time

	// Expires is when the key stops being valid; zero means never.
	Expires time.Time

	// Revoked is when the key was permanently revoked; zero means that it was
	// not.
	Revoked time.Time
}

// Reasons why a key is refused.
var (
	ErrInvalidKey = errors.New("not a key of this app")
	ErrWrongKind  = errors.New("a key of another kind")
	ErrKeyExpired = errors.New("the key has expired")
	ErrKeyRevoked = errors.New("the key was revoked")
)

// Check returns the app's key that matches the secret, if it is of the wanted
// kind and valid at now. Its errors are [ErrInvalidKey], [ErrWrongKind] (also
// for anything that merely begins like a key of another kind),
// [ErrKeyRevoked] and [ErrKeyExpired]. Its duration reveals nothing about the
// keys but their number.
func (a *App) Check(kind Kind, secret string, now time.Time) (*Key, error) {
	is := KindOf(secret)
	var buffer [64]byte // fits our keys, so the copy stays off the heap
	hash := sha256.Sum256(append(buffer[:0], secret...))
	var found *Key
	for i := range a.Keys {
		if subtle.ConstantTimeCompare(hash[:], a.Keys[i].Hash) == 1 {
			found = &a.Keys[i]
		}
	}
	switch {
	case found == nil && is != kind && is != "":
		return nil, ErrWrongKind
	case found == nil:
		return nil, ErrInvalidKey
	case found.Kind != kind:
		return nil, ErrWrongKind
	}
	if err := found.Check(now); err != nil {
		return nil, err
	}
	return found, nil
}

// Check returns nil if the key is valid at now, else [ErrKeyRevoked] or
// [ErrKeyExpired].
func (k *Key) Check(now time.Time) error {
	switch {
	case !k.Revoked.IsZero(): // whatever the clock says
		return ErrKeyRevoked
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return ErrKeyExpired
	}
	return nil
}

// NewKey returns a new key to store, and its secret. The secret is kept nowhere
// else, unless it signs tokens: if it is lost, a new key is needed.
func NewKey(kind Kind, label string) (key Key, secret string) {
	secret = kind.Prefix() + random.Text(32)
	hash := sha256.Sum256([]byte(secret))
	key = Key{
		ID:      "key_" + random.Text(20),
		Kind:    kind,
		Label:   label,
		Hash:    hash[:],
		Last4:   secret[len(secret)-4:],
		Created: time.Now().UTC(),
	}
	if kind == Sign {
		key.Algorithm, key.Verifier = HS256, []byte(secret)
	}
	return key, secret
}

// Has reports whether the key has a scope.
func (k *Key) Has(scope Scope) bool {
	if len(k.Scopes) == 0 {
		return scope == ScopePublish
	}
	return slices.Contains(k.Scopes, scope)
}
