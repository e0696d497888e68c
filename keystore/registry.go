package keystore

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// Store is where records live. Put and Delete are durable when they return.
type Store interface {
	Load() ([]*App, error)
	Put(*App) error
	Delete(id string) error
	Close() error
}

// Why a change is refused.
var (
	ErrNotFound    = errors.New("no such app")
	ErrInvalidName = errors.New("invalid name")
	ErrClosed      = errors.New("the keystore is closed")
)

// Registry serves all apps from memory and changes them through its store, one
// change at a time: first on disk, then in memory, then to those who watch.
type Registry struct {
	apps  sync.Map // id → *App
	count atomic.Int64

	mu       sync.Mutex // serialises changes and guards all below
	store    Store
	sorted   []*App // oldest first
	watchers []func(before, now *App)
	closed   bool
}

// Open loads all apps. The registry closes the store, also if this fails.
func Open(store Store) (*Registry, error) {
	apps, err := store.Load()
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	r := &Registry{store: store, sorted: apps}
	slices.SortFunc(r.sorted, order)
	for _, app := range apps {
		r.apps.Store(app.ID, app)
	}
	r.count.Store(int64(len(apps)))
	return r, nil
}

// order is by age, and by id where that is the same.
func order(a, b *App) int {
	return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
}

// App returns an app as it is now. It takes no lock.
func (r *Registry) App(id string) (*App, bool) {
	app, ok := r.apps.Load(id)
	if !ok {
		return nil, false
	}
	return app.(*App), true
}

// Len is the number of apps.
func (r *Registry) Len() int { return int(r.count.Load()) }

// Apps returns at most limit apps, oldest first, from behind the cursor after,
// which is "" for the first page and next for each that follows. next is ""
// with the last. Apps that come and go between two pages neither hide nor
// repeat others.
func (r *Registry) Apps(after string, limit int) (apps []*App, next string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := 0
	if created, id, ok := parseCursor(after); ok {
		var found bool
		from, found = slices.BinarySearchFunc(r.sorted, &App{ID: id, Created: created}, order)
		if found {
			from++
		}
	}
	to := min(len(r.sorted), from+limit)
	apps = slices.Clone(r.sorted[from:to])
	if to < len(r.sorted) && len(apps) > 0 {
		next = cursor(apps[len(apps)-1])
	}
	return apps, next
}

// cursor names a place in the order that stays when its app is gone.
func cursor(app *App) string {
	return fmt.Sprintf("%d-%s", app.Created.UnixNano(), app.ID)
}

func parseCursor(s string) (time.Time, string, bool) {
	nanos, id, ok := strings.Cut(s, "-")
	var n int64
	if _, err := fmt.Sscan(nanos, &n); !ok || err != nil {
		return time.Time{}, "", false
	}
	return time.Unix(0, n), id, true
}

// Created is a new app with the plain text of its keys, which nobody can show
// again.
type Created struct {
	App          *App
	PublishKey   string
	SubscribeKey string
}

// maxName bounds the characters of an app's name.
const maxName = 100

// Create makes an app with one key of each kind. The name is 1 to 100
// printable characters, else the error is an ErrInvalidName.
func (r *Registry) Create(name string) (Created, error) {
	name = strings.TrimSpace(name)
	if n := utf8.RuneCountInString(name); n < 1 || n > maxName || !utf8.ValidString(name) ||
		strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return Created{}, fmt.Errorf("%w: a name is 1 to %d printable characters", ErrInvalidName, maxName)
	}
	app := &App{ID: "app_" + random(20), Name: name, Created: time.Now().UTC()}
	publish, publishKey := newKey(Publish, app.Created)
	subscribe, subscribeKey := newKey(Subscribe, app.Created)
	app.Keys = []Key{publish, subscribe}

	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.put(nil, app); err != nil {
		return Created{}, err
	}
	return Created{App: app, PublishKey: publishKey, SubscribeKey: subscribeKey}, nil
}

// newKey makes a key of 190 random bits and what is kept of it.
func newKey(kind Kind, now time.Time) (Key, string) {
	secret := kind.Prefix() + random(32)
	hash := sha256.Sum256([]byte(secret))
	return Key{
		ID: "key_" + random(16), Kind: kind, Hash: hash[:],
		Last4: secret[len(secret)-4:], Created: now,
	}, secret
}

// random returns letters and digits, all equally likely.
func random(n int) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	text := make([]byte, 0, n)
	var b [64]byte
	for {
		_, _ = rand.Read(b[:]) // never fails, see crypto/rand
		for _, c := range b {
			if c >= 4*62 {
				continue // a remainder would favour the first letters
			}
			if text = append(text, alphabet[c%62]); len(text) == n {
				return string(text)
			}
		}
	}
}

// Update changes a copy of an app, and puts it in the app's place.
func (r *Registry) Update(id string, change func(*App) error) (*App, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, ok := r.App(id)
	if !ok {
		return nil, ErrNotFound
	}
	now := before.clone()
	if err := change(now); err != nil {
		return nil, err
	}
	now.ID, now.Created = before.ID, before.Created
	return now, r.put(before, now)
}

// put stores an app and then shows it. It needs mu.
func (r *Registry) put(before, now *App) error {
	if r.closed {
		return ErrClosed
	}
	if err := r.store.Put(now); err != nil {
		return fmt.Errorf("storing app %s: %w", now.ID, err)
	}
	at, found := slices.BinarySearchFunc(r.sorted, now, order)
	if found {
		r.sorted[at] = now
	} else {
		r.sorted = slices.Insert(r.sorted, at, now)
		r.count.Add(1)
	}
	r.apps.Store(now.ID, now)
	r.tell(before, now)
	return nil
}

// Delete removes an app with its keys.
func (r *Registry) Delete(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, ok := r.App(id)
	switch {
	case !ok:
		return ErrNotFound
	case r.closed:
		return ErrClosed
	}
	if err := r.store.Delete(id); err != nil {
		return fmt.Errorf("deleting app %s: %w", id, err)
	}
	if at, found := slices.BinarySearchFunc(r.sorted, before, order); found {
		r.sorted = slices.Delete(r.sorted, at, at+1)
	}
	r.apps.Delete(id)
	r.count.Add(-1)
	r.tell(before, nil)
	return nil
}

// Watch has fn called after each change, in their order, while no other is
// made: it must neither block nor change anything. before is nil for a new
// app, now for one that is gone.
func (r *Registry) Watch(fn func(before, now *App)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers = append(r.watchers, fn)
}

func (r *Registry) tell(before, now *App) {
	for _, fn := range r.watchers {
		fn(before, now)
	}
}

// Close closes the store. Later changes fail with ErrClosed; App still
// answers.
func (r *Registry) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	return r.store.Close()
}
