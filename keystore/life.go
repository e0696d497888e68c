package keystore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxKeys bounds the keys of an app that are good. Each is compared at
	// each publish.
	maxKeys = 50

	// maxDead bounds the keys of an app that are not good any more and are
	// still known, so that who uses one is told why. The oldest are forgotten.
	maxDead = 50

	// maxLabel bounds the characters of a key's label.
	maxLabel = 100
)

// Why a key is not added, rotated or revoked, beside [ErrNotFound], which is
// for the app.
var (
	ErrKeyNotFound  = errors.New("no such key")
	ErrTooManyKeys  = fmt.Errorf("the app has %d valid keys, which is the maximum", maxKeys)
	ErrInvalidLabel = fmt.Errorf("a label is at most %d printable characters", maxLabel)
)

// Issued is a new key with its plain text, which nobody can show again.
type Issued struct {
	App    *App // with the key in it
	Key    Key
	Secret string
}

// AddKey gives an app one more key. The label is for people and may be empty;
// expires is zero for never. The errors are [ErrNotFound], [ErrTooManyKeys],
// [ErrInvalidLabel], [ErrClosed] and the store's.
func (r *Registry) AddKey(app string, kind Kind, label string, expires time.Time) (Issued, error) {
	label = strings.TrimSpace(label)
	if !validLabel(label) {
		return Issued{}, ErrInvalidLabel
	}
	return r.issue(app, func(*App) (Key, string, error) {
		key, secret := NewKey(kind, label)
		key.Expires = expires
		return key, secret, nil
	})
}

// RotateKey gives an app another key of the kind and the label of one that it
// has, which stays good for the overlap and no longer. The errors are those of
// AddKey, [ErrKeyNotFound], and [ErrKeyRevoked] or [ErrKeyExpired] for a key
// that is not good: there is nothing to take its place.
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
		if until := now.Add(overlap); old.Expires.IsZero() || until.Before(old.Expires) {
			old.Expires = until
		}
		key, secret := NewKey(old.Kind, old.Label)
		return key, secret, nil
	})
}

// RevokeKey takes a key back, for good. One that was revoked before stays as
// it was. The errors are [ErrNotFound], [ErrKeyNotFound], [ErrClosed] and the
// store's.
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

// key is the app's key of that id, or nil.
func (a *App) key(id string) *Key {
	i := slices.IndexFunc(a.Keys, func(k Key) bool { return k.ID == id })
	if i < 0 {
		return nil
	}
	return &a.Keys[i]
}

// good is how many keys are.
func (a *App) good(now time.Time) (n int) {
	for i := range a.Keys {
		if a.Keys[i].Check(now) == nil {
			n++
		}
	}
	return n
}

// forgetDead drops the oldest of the keys that are not good any more, if they
// are too many.
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

// NextExpiry is the first time after now at which one of the app's keys ceases
// to be good by itself; zero is never.
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
