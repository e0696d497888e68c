package realtime

import (
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/stats"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// countedStore counts what is asked of a store after its opening.
type countedStore struct {
	keystore.Store
	counts *stats.Store
}

// Put implements keystore.Store.
func (s countedStore) Put(app *keystore.App) error {
	return s.count(stats.Put, func() error { return s.Store.Put(app) })
}

// Delete implements keystore.Store.
func (s countedStore) Delete(id string) error {
	return s.count(stats.Delete, func() error { return s.Store.Delete(id) })
}

// PutUsed implements keystore.Store.
func (s countedStore) PutUsed(app string, keys map[string]time.Time) error {
	return s.count(stats.PutUsed, func() error { return s.Store.PutUsed(app, keys) })
}

// Check implements keystore.Store.
func (s countedStore) Check() error { return s.count(stats.Check, s.Store.Check) }

func (s countedStore) count(operation string, do func() error) error {
	begun := time.Now()
	err := do()
	s.counts.Observe(operation, time.Since(begun), err)
	return err
}

// Interface guard
var _ keystore.Store = countedStore{}
