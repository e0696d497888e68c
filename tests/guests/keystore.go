// Package guests has a keystore and a broker that know caddy-realtime by its public
// packages alone, as those of others do. The tests build them into a Caddy.
package guests

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

func init() {
	caddy.RegisterModule(new(Files))
	caddy.RegisterModule(new(Slow))
}

// Files is the module `realtime.keystores.files`: a file for each app, in a directory
// that several processes share, each of which looks for changes of the others.
type Files struct {
	Directory string `json:"directory"`
}

// CaddyModule returns the Caddy module information.
func (*Files) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.keystores.files", New: func() caddy.Module { return new(Files) }}
}

// UnmarshalCaddyfile sets up the module: files { directory <dir> }.
func (f *Files) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // files
	for d.NextBlock(0) {
		if d.Val() != "directory" || !d.AllArgs(&f.Directory) {
			return d.Errf("unknown setting %s of keystore files; it takes: directory <dir>", d.Val())
		}
	}
	return nil
}

// Identity implements keystore.Opener.
func (f *Files) Identity() string { return f.Directory }

// Open implements keystore.Opener.
func (f *Files) Open(logger *zap.Logger) (keystore.Store, error) {
	if err := os.MkdirAll(f.Directory, 0o700); err != nil {
		return nil, err
	}
	return &store{dir: f.Directory, log: logger, seen: make(map[string]string), quit: make(chan struct{})}, nil
}

type store struct {
	dir  string
	log  *zap.Logger
	quit chan struct{}
	work sync.WaitGroup

	mu   sync.Mutex        // guards seen
	seen map[string]string // records, by the names of their files
}

func (s *store) path(id string) string { return filepath.Join(s.dir, id+".json") }

// look calls changed for each app whose record is another than at the last look.
func (s *store) look(changed func(string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := make(map[string]string)
	names, _ := filepath.Glob(s.path("app_*"))
	for _, name := range names {
		if text, err := os.ReadFile(name); err == nil {
			now[name] = string(text)
		}
	}
	for name := range now {
		if s.seen[name] != now[name] {
			changed(idOf(name))
		}
	}
	for name := range s.seen {
		if _, ok := now[name]; !ok {
			changed(idOf(name))
		}
	}
	s.seen = now
}

func idOf(name string) string {
	base := filepath.Base(name)
	return base[:len(base)-len(".json")]
}

// Watch implements keystore.Shared.
func (s *store) Watch(changed func(string)) {
	s.work.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-s.quit:
				return
			case <-tick.C:
				s.look(changed)
			}
		}
	})
}

func (s *store) Load(ctx context.Context) (apps []*keystore.App, err error) {
	names, err := filepath.Glob(s.path("app_*"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		app, err := s.Get(ctx, idOf(name))
		if err != nil {
			return nil, err
		}
		if app != nil {
			apps = append(apps, app)
		}
	}
	return apps, nil
}

func (s *store) Get(_ context.Context, id string) (*keystore.App, error) {
	text, err := os.ReadFile(s.path(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return keystore.Decode(id, text)
}

// compare returns ErrConflict unless the record of before is what is there.
func (s *store) compare(id string, before *keystore.App) error {
	text, err := os.ReadFile(s.path(id))
	if before == nil && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if before == nil || err != nil {
		return keystore.ErrConflict
	}
	want, err := keystore.Encode(before)
	if err == nil && string(want) != string(text) {
		err = keystore.ErrConflict
	}
	return err
}

func (s *store) Put(_ context.Context, before, after *keystore.App) error {
	if err := s.compare(after.ID, before); err != nil {
		return err
	}
	text, err := keystore.Encode(after)
	if err != nil {
		return err
	}
	next := filepath.Join(s.dir, rand.Text())
	return errors.Join(os.WriteFile(next, text, 0o600), os.Rename(next, s.path(after.ID)))
}

func (s *store) Delete(_ context.Context, before *keystore.App) error {
	if err := s.compare(before.ID, before); err != nil {
		return err
	}
	return os.Remove(s.path(before.ID))
}

func (s *store) LoadUsed(context.Context) (used map[string]time.Time, err error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "used_*"))
	used = make(map[string]time.Time)
	for _, name := range names {
		if text, err := os.ReadFile(name); err != nil || json.Unmarshal(text, &used) != nil {
			s.log.Warn("cannot be read", zap.String("file", name))
		}
	}
	return used, err
}

// PutUsed keeps what another process may know of a later use.
func (s *store) PutUsed(_ context.Context, app string, keys map[string]time.Time) error {
	name := filepath.Join(s.dir, "used_"+app)
	var kept map[string]time.Time
	if text, err := os.ReadFile(name); err == nil && json.Unmarshal(text, &kept) != nil {
		s.log.Warn("cannot be read", zap.String("file", name))
	}
	used := make(map[string]time.Time, len(keys))
	for key, at := range keys {
		if used[key] = at; kept[key].After(at) {
			used[key] = kept[key]
		}
	}
	text, err := json.Marshal(used)
	if err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o600)
}

func (s *store) Check(context.Context) error {
	_, err := os.Stat(s.dir)
	return err
}

func (s *store) Close() error {
	close(s.quit)
	s.work.Wait()
	return nil
}

// Interface guards
var (
	_ keystore.Opener       = (*Files)(nil)
	_ keystore.Shared       = (*store)(nil)
	_ caddyfile.Unmarshaler = (*Files)(nil)
)
