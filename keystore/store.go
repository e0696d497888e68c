package keystore

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// A Store keeps records. When Put or Delete returns nil, its change is durable;
// after an error other than ErrConflict, the next Load may or may not find it.
// A ctx ends when nobody waits for the answer any more.
type Store interface {
	// Load returns all apps, in any order, or an error if one of them cannot
	// be read.
	Load(ctx context.Context) ([]*App, error)

	// Get returns the app with that id, or nil if there is none.
	Get(ctx context.Context, id string) (*App, error)

	// Put replaces before, an app with the same id, with after if before is
	// still the stored version; before is nil for a new app. Otherwise it
	// changes nothing and returns ErrConflict. It must not modify either app.
	Put(ctx context.Context, before, after *App) error

	// Delete removes an app, and what PutUsed stored for it, if before is still
	// the stored version or the app is already gone. Otherwise it changes
	// nothing and returns ErrConflict.
	Delete(ctx context.Context, before *App) error

	// LoadUsed returns when keys were last used, by key id, as far as that was
	// stored and can be read.
	LoadUsed(ctx context.Context) (map[string]time.Time, error)

	// PutUsed stores when the keys of an app were last used, and replaces what
	// it stored before. It need not be durable at once. A Shared store keeps
	// the later time of each key, because another process may know of a later
	// use.
	PutUsed(ctx context.Context, app string, keys map[string]time.Time) error

	// Check reads from the store, and returns an error if that fails.
	Check(ctx context.Context) error

	// Close closes the store; no other call follows it.
	Close() error
}

// A Shared store is also changed by other processes.
type Shared interface {
	Store

	// Watch is called once, before anything else. From then on, until Close
	// returns, the store calls changed with the id of an app soon after another
	// process has put or deleted it. "" means that any app may have changed,
	// for example while the store was unreachable. The store may also call
	// changed for this process's own changes. changed does not block.
	Watch(changed func(id string))
}

// A UsedReader is a shared store that can say again when keys were used. Without it, the
// uses that other processes have stored are known from the start only.
type UsedReader interface {
	Shared

	// ReadUsed is LoadUsed for some apps.
	ReadUsed(ctx context.Context, apps []string) (map[string]time.Time, error)
}

// ErrConflict is returned by a store if the app has been changed in the
// meantime. The registry retries with the current version.
var ErrConflict = errors.New("the app was changed by someone else in the meantime; try again")

// An Opener opens a store. Caddy modules in the namespace realtime.keystores
// implement it in addition to caddy.Module. A store is opened when a
// configuration starts, not when one is validated.
type Opener interface {
	// Identity is the same for configurations that use the same store, for
	// example its directory or address. A reload then keeps the store open, and
	// all sockets with it. Operators see it, so it must not contain secrets.
	Identity() string

	// Open opens the store. It logs to logger.
	Open(logger *zap.Logger) (Store, error)
}

// A Renewer is an Opener that can change a store which is open, for example to use a new
// password.
type Renewer interface {
	// Renew is called when a configuration with the same Identity takes over the store
	// that is open, and when it is taken back. After an error, the configuration is
	// refused.
	Renew(Store) error
}

// same reports whether two apps have the same record; both may be nil.
func same(a, b *App) bool {
	if a == nil || b == nil {
		return a == b
	}
	one, err := Encode(a)
	if err != nil {
		return false
	}
	other, err := Encode(b)
	return err == nil && string(one) == string(other)
}
