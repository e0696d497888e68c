package keystore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// keepUsed is how often key uses are stored. A killed process loses that much.
const keepUsed = time.Minute

// usage records when keys were last used, to the minute, which is enough to see
// whether a key can be revoked.
type usage struct {
	minutes sync.Map // key id → *atomic.Int64, minutes since 1970

	mu    sync.Mutex          // guards the fields below
	dirty map[string]struct{} // apps with key uses that are not stored yet
	after time.Time           // when the store may be asked again for the uses of others

	quit  chan struct{}
	ended chan struct{}
}

// Used records that a key of an app was used. It is on the hot path of every
// message: within a minute, only the first use of a key costs more than a
// lookup.
func (r *Registry) Used(app *App, key *Key, now time.Time) {
	minute := now.Unix() / 60
	last := r.lastUse(app.ID, key.ID)
	if last == nil {
		return
	}
	if last.Load() >= minute {
		return
	}
	last.Store(minute)
	r.usage.mu.Lock()
	defer r.usage.mu.Unlock()
	r.usage.dirty[app.ID] = struct{}{}
}

// How long RefreshUsed waits for the store, and how long it leaves it alone after an error.
const (
	readUsed      = time.Second
	readUsedAgain = 10 * time.Second
)

// RefreshUsed has LastUsed know the uses of some apps' keys that other processes have
// stored, which they do once a minute. If the store is no UsedReader or cannot be
// read, it does nothing. It waits at most a second.
func (r *Registry) RefreshUsed(ctx context.Context, apps ...*App) {
	store, is := r.store.(UsedReader)
	if !is || len(apps) == 0 {
		return
	}
	r.usage.mu.Lock()
	wait := time.Now().Before(r.usage.after)
	r.usage.mu.Unlock()
	if wait {
		return
	}
	ids := make([]string, len(apps))
	for i, app := range apps {
		ids[i] = app.ID
	}
	ctx, cancel := context.WithTimeout(ctx, readUsed)
	defer cancel()
	used, err := store.ReadUsed(ctx, ids)
	if err != nil {
		r.usage.mu.Lock()
		r.usage.after = time.Now().Add(readUsedAgain)
		r.usage.mu.Unlock()
	}
	for _, app := range apps {
		for i := range app.Keys {
			if at, ok := used[app.Keys[i].ID]; ok {
				r.usedElsewhere(app.ID, app.Keys[i].ID, at.Unix()/60)
			}
		}
	}
}

// usedElsewhere records that another process used a key.
func (r *Registry) usedElsewhere(app, key string, minute int64) {
	last := r.lastUse(app, key)
	if last == nil {
		return
	}
	for known := last.Load(); known < minute && !last.CompareAndSwap(known, minute); {
		known = last.Load()
	}
}

// lastUse returns the minute in which a key was last used, 0 if it was not yet; or nil if
// the app no longer has the key.
func (r *Registry) lastUse(app, key string) *atomic.Int64 {
	v, ok := r.usage.minutes.Load(key)
	if !ok {
		v, _ = r.usage.minutes.LoadOrStore(key, new(atomic.Int64))
		if now, ok := r.App(app); !ok || now.key(key) == nil {
			r.usage.minutes.Delete(key) // dropped since it was looked up
			return nil
		}
	}
	return v.(*atomic.Int64)
}

// LastUsed returns when a key was last used, to the minute; zero means never,
// or unknown.
func (r *Registry) LastUsed(key string) time.Time {
	v, ok := r.usage.minutes.Load(key)
	if !ok {
		return time.Time{}
	}
	return time.Unix(v.(*atomic.Int64).Load()*60, 0).UTC()
}

// startUsage begins with the stored uses of the existing keys.
func (r *Registry) startUsage(kept map[string]time.Time) {
	r.usage.dirty = make(map[string]struct{})
	r.usage.quit, r.usage.ended = make(chan struct{}), make(chan struct{})
	for _, app := range r.list.apps {
		for _, key := range app.Keys {
			if at, ok := kept[key.ID]; ok {
				minute := new(atomic.Int64)
				minute.Store(at.Unix() / 60)
				r.usage.minutes.Store(key.ID, minute)
			}
		}
	}
	go r.keepUsage()
}

// keepUsage runs until the registry is closed.
func (r *Registry) keepUsage() {
	defer close(r.usage.ended)
	tick := time.NewTicker(keepUsed)
	defer tick.Stop()
	for {
		select {
		case <-r.usage.quit:
			return
		case <-tick.C:
			r.mu.Lock()
			r.writeUsage()
			r.mu.Unlock()
		}
	}
}

// writeUsage stores the new uses. Uses that the store refuses are retried next
// time. The caller must hold mu.
func (r *Registry) writeUsage() {
	r.usage.mu.Lock()
	dirty := r.usage.dirty
	r.usage.dirty = make(map[string]struct{})
	r.usage.mu.Unlock()
	for id := range dirty {
		app, ok := r.App(id)
		if !ok {
			continue
		}
		used := make(map[string]time.Time, len(app.Keys))
		for _, k := range app.Keys {
			if at := r.LastUsed(k.ID); !at.IsZero() {
				used[k.ID] = at
			}
		}
		if r.store.PutUsed(r.ctx, id, used) != nil {
			r.usage.mu.Lock()
			r.usage.dirty[id] = struct{}{}
			r.usage.mu.Unlock()
		}
	}
}

// forgetUsage drops the uses of keys that an app no longer has; after is nil if
// the app was deleted. The caller must hold mu.
func (r *Registry) forgetUsage(before, after *App) {
	for _, k := range before.Keys {
		if after == nil || after.key(k.ID) == nil {
			r.usage.minutes.Delete(k.ID)
		}
	}
}
