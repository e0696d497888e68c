// Package keystore stores apps and their keys. All of them are kept in memory
// for readers, and each change is on disk before it is acknowledged.
package keystore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// App is a tenant. An App that the registry returned never changes and must not
// be modified: [Registry.Update] replaces it with another one.
type App struct {
	// ID is "app_" followed by 20 letters and digits.
	ID string

	// Name is for people: 1 to 100 printable characters, not unique.
	Name string

	// Created is in UTC.
	Created time.Time

	// Disabled apps keep their keys but must admit nobody. [App.Check] ignores
	// this field.
	Disabled bool

	// Rate limits the app's publishes; nil means the site's default.
	Rate *Rate

	// History is what the app's channels keep; nil means the site's default.
	History *History

	// Recovery is how long a client can be away and still recover, 0 for no
	// recovery; nil means the site's default.
	Recovery *time.Duration

	// Rules say who may subscribe to which channel. nil means DefaultRules; if
	// empty, everybody may subscribe to all.
	Rules []Rule

	// RevokedUsers are users whose tokens are refused if they were issued until
	// then. Older entries than a token can be are dropped.
	RevokedUsers map[string]time.Time

	// MaxConnections limits the app's sockets; 0 means no limit.
	MaxConnections int

	// MaxConnectionsPerUser limits the sockets of one user; 0 means no limit.
	MaxConnectionsPerUser int

	// MaxChannels limits the channels of one socket; 0 means the site's
	// default.
	MaxChannels int

	// MaxBody limits the body of a publish, in bytes; 0 means the site's
	// default, which also caps larger values.
	MaxBody int64

	// AllowedOrigins are the browser origins that the app accepts. If empty, it
	// accepts all that the site allows.
	AllowedOrigins []string

	// Hooks are the URLs that are sent the app's events, in order of creation.
	Hooks []Hook

	// Keys are the app's keys in order of creation, including expired and
	// revoked ones.
	Keys []Key
}

// History is how many of its newest messages a channel keeps, and for how long.
// 0 messages are none.
type History struct {
	Messages int
	Age      time.Duration
}

// Rate is a number of publishes per rolling window. A Limit of 0 means no
// limit.
type Rate struct {
	Limit  int
	Window time.Duration
}

// maxName is the maximum length of an app's name, in characters.
const maxName = 100

// ErrInvalidName is wrapped by an error that says what is wrong with an app's
// name, and which names are valid.
var ErrInvalidName = errors.New("invalid name")

// cleanName returns the name without surrounding spaces.
func cleanName(name string) (string, error) {
	name = strings.TrimSpace(name)
	var wrong string
	switch n := utf8.RuneCountInString(name); {
	case !utf8.ValidString(name):
		wrong = "it is not UTF-8"
	case n == 0:
		wrong = "it is empty"
	case n > maxName:
		wrong = fmt.Sprintf("it has %d characters", n)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		wrong = "it has a character that cannot be printed"
	default:
		return name, nil
	}
	return "", fmt.Errorf("%w: %s; a name is 1 to %d printable characters", ErrInvalidName, wrong, maxName)
}

// validate finds values that no record may contain, both before writing and
// after reading.
func (a *App) validate() error {
	if a.Rate != nil && (a.Rate.Limit < 0 || a.Rate.Limit > 0 && a.Rate.Window <= 0) {
		return fmt.Errorf("a rate of %d in %s means nothing", a.Rate.Limit, a.Rate.Window)
	}
	if a.MaxConnections < 0 || a.MaxConnectionsPerUser < 0 || a.MaxChannels < 0 || a.MaxBody < 0 {
		return fmt.Errorf("a bound below 0 means nothing: %d connections, %d of a user, %d channels, %d bytes",
			a.MaxConnections, a.MaxConnectionsPerUser, a.MaxChannels, a.MaxBody)
	}
	if err := a.History.validate(); err != nil {
		return err
	}
	if err := a.validateRules(); err != nil {
		return err
	}
	if err := a.validateHooks(); err != nil {
		return err
	}
	if a.Recovery != nil && *a.Recovery < 0 {
		return fmt.Errorf("a recovery of %s means nothing", *a.Recovery)
	}
	for i := range a.Keys {
		k := &a.Keys[i]
		switch {
		case k.ID == "" || slices.ContainsFunc(a.Keys[:i], func(other Key) bool { return other.ID == k.ID }):
			return fmt.Errorf("key %d has the id %q, which is empty or another's", i, k.ID)
		case !slices.Contains(Kinds(), k.Kind):
			return fmt.Errorf("key %s is of the unknown kind %q", k.ID, k.Kind)
		case len(k.Hash) != sha256.Size:
			return fmt.Errorf("key %s has a hash of %d bytes, not %d", k.ID, len(k.Hash), sha256.Size)
		}
		if err := k.validateSign(); err != nil {
			return fmt.Errorf("key %s: %w", k.ID, err)
		}
		if err := k.validateScopes(); err != nil {
			return fmt.Errorf("key %s: %w", k.ID, err)
		}
	}
	return nil
}

// validate accepts nil.
func (h *History) validate() error {
	if h != nil && (h.Messages < 0 || h.Messages > 0 && h.Age <= 0) {
		return fmt.Errorf("a history of %d in %s means nothing", h.Messages, h.Age)
	}
	return nil
}

// clone returns a deep copy.
func (a *App) clone() *App {
	c := *a
	if a.Rate != nil {
		rate := *a.Rate
		c.Rate = &rate
	}
	if a.History != nil {
		c.History = new(*a.History)
	}
	if a.Recovery != nil {
		c.Recovery = new(*a.Recovery)
	}
	c.Rules = cloneRules(a.Rules)
	c.RevokedUsers = maps.Clone(a.RevokedUsers)
	c.AllowedOrigins = slices.Clone(a.AllowedOrigins)
	c.Hooks = cloneHooks(a.Hooks)
	c.Keys = slices.Clone(a.Keys)
	for i := range c.Keys {
		c.Keys[i].Hash = slices.Clone(c.Keys[i].Hash)
		c.Keys[i].Scopes = slices.Clone(c.Keys[i].Scopes)
		c.Keys[i].Verifier = slices.Clone(c.Keys[i].Verifier)
	}
	return &c
}
