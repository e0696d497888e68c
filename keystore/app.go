// Package keystore keeps apps and their keys: all of them in memory for those
// who ask, each change on disk before it is answered.
package keystore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// App is a tenant. One that the registry returned never changes, and is not to
// be changed: [Registry.Update] puts another in its place.
type App struct {
	// ID is "app_" and 20 letters and digits.
	ID string

	// Name is for people: 1 to 100 printable characters, not unique.
	Name string

	// Created is in UTC.
	Created time.Time

	// Disabled apps keep their keys, and are to let nobody in. [App.Check]
	// does not look at it.
	Disabled bool

	// Rate bounds the app's publishes; nil is the site's default.
	Rate *Rate

	// MaxConnections bounds the app's sockets; 0 is no bound.
	MaxConnections int

	// MaxChannels bounds the channels of one socket; 0 is the site's default.
	MaxChannels int

	// MaxBody bounds the body of a publish, in bytes; 0 is the site's default,
	// as is more than that.
	MaxBody int64

	// AllowedOrigins are those of browsers; none is any that the site allows.
	AllowedOrigins []string

	// Keys are all that the app ever had, in the order in which they came,
	// expired and revoked ones too.
	Keys []Key
}

// Rate is a number of publishes in a rolling window. A Limit of 0 is no limit.
type Rate struct {
	Limit  int
	Window time.Duration
}

// maxName bounds the characters of an app's name.
const maxName = 100

// ErrInvalidName is wrapped by an error that says what is wrong with the name
// of an app, and what a name is.
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

// validate finds what no record may hold, whether it is to be written or was
// read.
func (a *App) validate() error {
	if a.Rate != nil && (a.Rate.Limit < 0 || a.Rate.Limit > 0 && a.Rate.Window <= 0) {
		return fmt.Errorf("a rate of %d in %s means nothing", a.Rate.Limit, a.Rate.Window)
	}
	if a.MaxConnections < 0 || a.MaxChannels < 0 || a.MaxBody < 0 {
		return fmt.Errorf("a bound below 0 means nothing: %d connections, %d channels, %d bytes", a.MaxConnections, a.MaxChannels, a.MaxBody)
	}
	for i, k := range a.Keys {
		switch {
		case k.ID == "" || slices.ContainsFunc(a.Keys[:i], func(other Key) bool { return other.ID == k.ID }):
			return fmt.Errorf("key %d has the id %q, which is empty or another's", i, k.ID)
		case k.Kind != Publish && k.Kind != Subscribe:
			return fmt.Errorf("key %s is of the unknown kind %q", k.ID, k.Kind)
		case len(k.Hash) != sha256.Size:
			return fmt.Errorf("key %s has a hash of %d bytes, not %d", k.ID, len(k.Hash), sha256.Size)
		}
	}
	return nil
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
