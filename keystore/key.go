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
	Publish   Kind = "publish"   // a backend's: may publish, nothing else
	Subscribe Kind = "subscribe" // a client's: may connect and subscribe, nothing else
)

// Prefix is what the keys of a kind begin with, so that people and programs
// can tell them apart: "pk_live_" or "sub_live_".
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

// Key is what is known of a key, which is not enough to use it.
type Key struct {
	// ID is "key_" and 20 letters and digits.
	ID string

	Kind  Kind
	Label string // for people, may be empty

	// Hash is the SHA-256 of the key. That is as hard to turn back as the key
	// is to guess: it has 190 random bits, unlike a password.
	Hash []byte

	// Last4 are the key's last characters, by which people know it.
	Last4 string

	Created time.Time

	// Expires is when the key ceases to be good; zero is never.
	Expires time.Time

	// Revoked is when the key was taken back, for good; zero is not.
	Revoked time.Time
}

// Why a key does not let in.
var (
	ErrInvalidKey = errors.New("not a key of this app")
	ErrWrongKind  = errors.New("a key of the other kind")
	ErrKeyExpired = errors.New("the key has expired")
	ErrKeyRevoked = errors.New("the key was revoked")
)

// Check finds the app's key that a secret is, if it is of the kind that is
// wanted and good at that time. Its errors are [ErrInvalidKey], [ErrWrongKind]
// (also for what merely begins like a key of the other kind), [ErrKeyRevoked]
// and [ErrKeyExpired]. The time that it takes tells nothing about the keys but
// how many there are.
func (a *App) Check(kind Kind, secret string, now time.Time) (*Key, error) {
	var buffer [64]byte // for a key of ours, which keeps its copy off the heap
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

// Check says why the key is not good at that time: [ErrKeyRevoked] or
// [ErrKeyExpired], nil if it is good.
func (k *Key) Check(now time.Time) error {
	switch {
	case !k.Revoked.IsZero(): // whatever the clock says by now
		return ErrKeyRevoked
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return ErrKeyExpired
	}
	return nil
}

// NewKey makes a key, and what is to be kept of it. The secret is nowhere
// else: who loses it makes another.
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
