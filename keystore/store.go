package keystore

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// A Store is where records live. What Put and Delete did is durable when they
// return nil; after another error it may or may not be found at the next Load. A
// ctx ends when nobody waits for the answer any more.
type Store interface {
	// Load returns all apps, in any order, or an error if one of them cannot
	// be read.
	Load(ctx context.Context) ([]*App, error)

	// Get returns the app of that id, nil if there is none.
	Get(ctx context.Context, id string) (*App, error)

	// Put keeps after in the place of before, an app with the same id, if that
	// is still what is kept; before is nil for a new app. Else it changes nothing
	// and returns ErrConflict. It may not change either of them.
	Put(ctx context.Context, before, after *App) error

	// Delete removes an app, and what PutUsed kept of it, if it is still what is
	// kept, or is gone already. Else it changes nothing and returns ErrConflict.
	Delete(ctx context.Context, before *App) error

	// LoadUsed returns when keys were last used, by their ids, as far as that
	// was kept and can be read.
	LoadUsed(ctx context.Context) (map[string]time.Time, error)

	// PutUsed keeps when the keys of an app were last used, in the place of
	// what it kept before. It need not be durable at once. A Shared store keeps
	// the later time of each key, as another process may know of a later use.
	PutUsed(ctx context.Context, app string, keys map[string]time.Time) error

	// Check reads from the store, and returns why that cannot be done.
	Check(ctx context.Context) error

	// Close ends the store; no other call follows it.
	Close() error
}

// A Shared store is one that other processes change, too.
type Shared interface {
	Store

	// Watch is called once, before anything else. From then on, until Close
	// returns, the store calls changed with the id of an app that another process
	// has put or deleted, soon after; "" says that any app may have changed, as
	// when the store was out of reach. It may also call it for this process' own
	// changes. changed does not wait.
	Watch(changed func(id string))
}

// ErrConflict is returned by a store for a change of what has been changed
// meanwhile. The registry tries again with what is kept now.
var ErrConflict = errors.New("the app was changed by someone else in the meantime; try again")

// An Opener opens a store. It is what a Caddy module of the namespace
// realtime.keystores is, beside caddy.Module; modules are opened when a
// configuration starts, and not to validate one.
type Opener interface {
	// Identity is the same for configurations that use the same store, which a
	// reload then leaves open, with all sockets; a directory or an address, for
	// example. Operators see it: it has no secrets.
	Identity() string

	// Open opens the store. It logs to logger.
	Open(logger *zap.Logger) (Store, error)
}

// Encode is the record of an app, JSON, for a store to keep. It fails for an app
// that no record may hold.
func Encode(app *App) ([]byte, error) { return encodeApp(app) }

// Decode reads the record of the app of that id. What cannot be read whole is an
// error.
func Decode(id string, record []byte) (*App, error) { return decodeApp(id, record) }

// same reports whether two apps have the same record; both may be nil.
func same(a, b *App) bool {
	if a == nil || b == nil {
		return a == b
	}
	one, err := encodeApp(a)
	if err != nil {
		return false
	}
	other, err := encodeApp(b)
	return err == nil && string(one) == string(other)
}
