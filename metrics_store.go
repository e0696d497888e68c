package realtime

import (
	"context"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/stats"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// countedStore counts the operations on an open store.
type countedStore struct {
	keystore.Store
	counts *stats.Store
}

// counted returns a store that counts its operations.
func counted(store keystore.Store, counts *stats.Store) keystore.Store {
	if shared, ok := store.(keystore.Shared); ok {
		return countedShared{countedStore{store, counts}, shared}
	}
	return countedStore{store, counts}
}

// countedShared is a countedStore for a shared store.
type countedShared struct {
	countedStore
	shared keystore.Shared
}

// Watch implements keystore.Shared.
func (s countedShared) Watch(changed func(id string)) { s.shared.Watch(changed) }

// ReadUsed implements keystore.UsedReader.
func (s countedShared) ReadUsed(ctx context.Context, apps []string) (map[string]time.Time, error) {
	if reader, ok := s.shared.(keystore.UsedReader); ok {
		return reader.ReadUsed(ctx, apps)
	}
	return nil, nil
}

// Put implements keystore.Store.
func (s countedStore) Put(ctx context.Context, before, after *keystore.App) error {
	return s.count(stats.Put, func() error { return s.Store.Put(ctx, before, after) })
}

// Delete implements keystore.Store.
func (s countedStore) Delete(ctx context.Context, before *keystore.App) error {
	return s.count(stats.Delete, func() error { return s.Store.Delete(ctx, before) })
}

// PutUsed implements keystore.Store.
func (s countedStore) PutUsed(ctx context.Context, app string, keys map[string]time.Time) error {
	return s.count(stats.PutUsed, func() error { return s.Store.PutUsed(ctx, app, keys) })
}

// Check implements keystore.Store.
func (s countedStore) Check(ctx context.Context) error {
	return s.count(stats.Check, func() error { return s.Store.Check(ctx) })
}

func (s countedStore) count(operation string, do func() error) error {
	begun := time.Now()
	err := do()
	s.counts.Observe(operation, time.Since(begun), err)
	return err
}

// Interface guard
var _ keystore.Shared = countedShared{}
