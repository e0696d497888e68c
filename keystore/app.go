// Package keystore keeps apps and their keys: all of them in memory for those
// who ask, each change on disk before it is answered.
package keystore

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"time"
)

// Kind says what a key is for.
type Kind string

// The kinds of keys.
const (
	Publish   Kind = "publish"   // a backend's: may publish, nothing else
	Subscribe Kind = "subscribe" // a client's: may connect and subscribe, nothing else
)

// Prefix is what the keys of a kind begin with, so that people and programs
// can tell them apart.
func (k Kind) Prefix() string {
	if k == Publish {
		return "pk_live_"
	}
	return "sub_live_"
}

// App is a tenant. A record that the registry returned never changes: a change
// makes a new one.
type App struct {
	ID      string // app_…
	Name    string
	Created time.Time

	// Disabled apps keep their keys, and let nobody in.
	Disabled bool

	// Rate bounds the app's publishes; nil is the site's default.
	Rate *Rate

	// AllowedOrigins of browsers; empty is any that the site allows.
	AllowedOrigins []string

	Keys []Key
}

// Rate is a number of publishes in a rolling window. A Limit of 0 is none.
type Rate struct {
	Limit  int
	Window time.Duration
}

// Key is what is known of a key; not the key itself.
type Key struct {
	ID      string // key_…
	Kind    Kind
	Label   string
	Hash    []byte // SHA-256 of the key
	Last4   string // the key's last characters, for people
	Created time.Time

	// Expires and Revoked are zero where that will not, or did not, happen.
	Expires, Revoked time.Time
}

// Why a key does not let in.
var (
	ErrInvalidKey = errors.New("not a key of this app")
	ErrWrongKind  = errors.New("a key of the other kind")
	ErrKeyExpired = errors.New("the key has expired")
	ErrKeyRevoked = errors.New("the key was revoked")
)

// Check finds the app's key that a secret is, if it is of the kind wanted and
// good at that time. Its errors are ErrInvalidKey, ErrWrongKind (also for what
// merely looks like a key of the other kind), ErrKeyExpired and ErrKeyRevoked.
func (a *App) Check(kind Kind, secret string, now time.Time) (*Key, error) {
	var buffer [128]byte // keeps the copy for the hash off the heap
	hash := sha256.Sum256(append(buffer[:0], secret...))
	var found *Key
	for i := range a.Keys {
		if subtle.ConstantTimeCompare(hash[:], a.Keys[i].Hash) == 1 {
			found = &a.Keys[i]
		}
	}
	switch {
	case found == nil && kind == Publish && strings.HasPrefix(secret, Subscribe.Prefix()),
		found == nil && kind == Subscribe && strings.HasPrefix(secret, Publish.Prefix()):
		return nil, ErrWrongKind
	case found == nil:
		return nil, ErrInvalidKey
	case found.Kind != kind:
		return nil, ErrWrongKind
	case !found.Revoked.IsZero() && !now.Before(found.Revoked):
		return nil, ErrKeyRevoked
	case !found.Expires.IsZero() && !now.Before(found.Expires):
		return nil, ErrKeyExpired
	}
	return found, nil
}

// clone is a copy that shares nothing with the original.
func (a *App) clone() *App {
	c := *a
	if a.Rate != nil {
		rate := *a.Rate
		c.Rate = &rate
	}
	c.AllowedOrigins = slices.Clone(a.AllowedOrigins)
	c.Keys = slices.Clone(a.Keys)
	for i := range c.Keys {
		c.Keys[i].Hash = slices.Clone(c.Keys[i].Hash)
	}
	return &c
}
