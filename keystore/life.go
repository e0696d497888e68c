package keystore

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxKeys is the maximum number of valid keys of an app. Each publish
	// compares all of them.
	maxKeys = 50

	// maxDead is the maximum number of invalid keys that an app keeps, so that
	// their users are told why they are refused. The oldest are dropped.
	maxDead = 50

	// maxLabel is the maximum length of a key's label, in characters.
	maxLabel = 100
)

// Reasons why a key is not added, rotated or revoked, besides [ErrNotFound] for
// the app.
var (
	ErrKeyNotFound  = errors.New("no such key")
	ErrTooManyKeys  = fmt.Errorf("the app has %d valid keys, which is the maximum", maxKeys)
	ErrNoSecret     = errors.New("the key is a public key, whose successor is not made here")
	ErrInvalidLabel = fmt.Errorf("a label is at most %d printable characters", maxLabel)
)

// Issued is a new key with its plain text, which cannot be shown again.
type Issued struct {
	App    *App // including the key
	Key    Key
	Secret string
}

// A KeySpec says which key to add.
type KeySpec struct {
	Kind    Kind
	Label   string    // for people, can be empty
	Expires time.Time // zero means never
	Scopes  []Scope   // of a publish key

	// Public is the public key of a signing key whose private half somebody else
	// has. If it is nil, a secret is made.
	Public crypto.PublicKey
}

// AddKey adds a key to an app. The errors are [ErrNotFound], [ErrTooManyKeys],
// [ErrInvalidLabel], [ErrPublicKey], [ErrClosed] and the store's.
func (r *Registry) AddKey(app string, spec KeySpec) (Issued, error) {
	label := strings.TrimSpace(spec.Label)
	if !validLabel(label) {
		return Issued{}, ErrInvalidLabel
	}
	return r.issue(app, func(*App) (key Key, secret string, err error) {
		if spec.Public != nil {
			key, err = NewPublicKey(spec.Public, label)
		} else {
			key, secret = NewKey(spec.Kind, label)
		}
		key.Expires, key.Scopes = spec.Expires, spec.Scopes
		return key, secret, err
	})
}

// RotateKey adds a key with the kind, label and scopes of an existing key, which
// stays valid for the overlap and no longer. The errors are those of AddKey,
// [ErrKeyNotFound], [ErrKeyRevoked] or [ErrKeyExpired] for a key that is not valid:
// there is nothing to replace, and [ErrNoSecret].
func (r *Registry) RotateKey(app, id string, overlap time.Duration) (Issued, error) {
	return r.issue(app, func(a *App) (Key, string, error) {
		old := a.key(id)
		if old == nil {
			return Key{}, "", ErrKeyNotFound
		}
		now := time.Now().UTC()
		if err := old.Check(now); err != nil {
			return Key{}, "", err
		}
		if old.Public() != nil {
			return Key{}, "", ErrNoSecret
		}
		if until := now.Add(overlap); old.Expires.IsZero() || until.Before(old.Expires) {
			old.Expires = until
		}
		key, secret := NewKey(old.Kind, old.Label)
		key.Scopes = slices.Clone(old.Scopes)
		return key, secret, nil
	})
}

// RevokeKey permanently revokes a key. A key that is already revoked stays
// unchanged. The errors are [ErrNotFound], [ErrKeyNotFound], [ErrClosed] and
// the store's.
func (r *Registry) RevokeKey(app, id string) (*App, error) {
	return r.Update(app, func(a *App) error {
		key := a.key(id)
		if key == nil {
			return ErrKeyNotFound
		}
		if key.Revoked.IsZero() {
			key.Revoked = time.Now().UTC()
		}
		a.forgetDead(time.Now())
		return nil
	})
}

// issue adds the key that newKey returns.
func (r *Registry) issue(app string, newKey func(*App) (Key, string, error)) (Issued, error) {
	var issued Issued
	after, err := r.Update(app, func(a *App) (err error) {
		if issued.Key, issued.Secret, err = newKey(a); err != nil {
			return err
		}
		a.Keys = append(a.Keys, issued.Key)
		now := time.Now()
		if a.good(now) > maxKeys {
			return ErrTooManyKeys
		}
		a.forgetDead(now)
		return nil
	})
	if err != nil {
		return Issued{}, err
	}
	issued.App = after
	return issued, nil
}

// Key returns the app's key with that id, or nil. It must not be changed.
func (a *App) Key(id string) *Key { return a.key(id) }

// key returns the app's key with that id, or nil.
func (a *App) key(id string) *Key {
	i := slices.IndexFunc(a.Keys, func(k Key) bool { return k.ID == id })
	if i < 0 {
		return nil
	}
	return &a.Keys[i]
}

// good counts the keys that are valid at now.
func (a *App) good(now time.Time) (n int) {
	for i := range a.Keys {
		if a.Keys[i].Check(now) == nil {
			n++
		}
	}
	return n
}

// forgetDead drops the oldest invalid keys if there are too many.
func (a *App) forgetDead(now time.Time) {
	surplus := len(a.Keys) - a.good(now) - maxDead
	a.Keys = slices.DeleteFunc(a.Keys, func(k Key) bool {
		if surplus <= 0 || k.Check(now) == nil {
			return false
		}
		surplus--
		return true
	})
}

// NextExpiry returns the first time after now at which one of the app's keys
// expires; zero means never.
func (a *App) NextExpiry(now time.Time) time.Time {
	var next time.Time
	for i := range a.Keys {
		k := &a.Keys[i]
		if !k.Expires.IsZero() && k.Check(now) == nil && (next.IsZero() || k.Expires.Before(next)) {
			next = k.Expires
		}
	}
	return next
}

func validLabel(label string) bool {
	return utf8.ValidString(label) && utf8.RuneCountInString(label) <= maxLabel &&
		!strings.ContainsFunc(label, func(r rune) bool { return !unicode.IsPrint(r) })
}
