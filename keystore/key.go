package keystore

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
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
)

// Prefix returns the prefix of this kind's keys, "pk_live_" or "sub_live_", so
// that people and programs can tell them apart.
func (k Kind) Prefix() string {
	if k == Publish {
		return "pk_live_"
	}
	return "sub_live_"
}

func (k Kind) other() Kind {
	if k == Publish {
		return Subscribe
	}
	return Publish
}

// Key is the stored part of a key, which is not enough to use it.
type Key struct {
	// ID is "key_" followed by 20 letters and digits.
	ID string

	Kind  Kind
	Label string // for people, may be empty

	// Hash is the key's SHA-256. It is as hard to invert as the key is to
	// guess: unlike a password, a key has 190 random bits.
	Hash []byte

	// Last4 is the key's last four characters, by which people recognise it.
	Last4 string

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
	ErrWrongKind  = errors.New("a key of the other kind")
	ErrKeyExpired = errors.New("the key has expired")
	ErrKeyRevoked = errors.New("the key was revoked")
)

// Check returns the app's key that matches the secret, if it is of the wanted
// kind and valid at now. Its errors are [ErrInvalidKey], [ErrWrongKind] (also
// for anything that merely begins like a key of the other kind),
// [ErrKeyRevoked] and [ErrKeyExpired]. Its duration reveals nothing about the
// keys but their number.
func (a *App) Check(kind Kind, secret string, now time.Time) (*Key, error) {
	var buffer [64]byte // fits our keys, so the copy stays off the heap
	hash := sha256.Sum256(append(buffer[:0], secret...))
	var found *Key
	for i := range a.Keys {
		if subtle.ConstantTimeCompare(hash[:], a.Keys[i].Hash) == 1 {
			found = &a.Keys[i]
		}
	}
	switch {
	case found == nil && strings.HasPrefix(secret, kind.other().Prefix()):
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
// else: if it is lost, a new key is needed.
func NewKey(kind Kind, label string) (key Key, secret string) {
	secret = kind.Prefix() + random.Text(32)
	hash := sha256.Sum256([]byte(secret))
	return Key{
		ID:      "key_" + random.Text(20),
		Kind:    kind,
		Label:   label,
		Hash:    hash[:],
		Last4:   secret[len(secret)-4:],
		Created: time.Now().UTC(),
	}, secret
}
