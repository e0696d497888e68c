package redis

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"go.uber.org/zap"
)

// copyInterval is how often the copy is written at most.
const copyInterval = time.Second

// copyFormat is the version of the copy's format.
const copyFormat = 1

// A copyFile is the last copy of the keystore on disk.
type copyFile struct {
	path     string
	identity string // of the server and the prefix
}

// copied is the content of the file.
type copied struct {
	V        int                        `json:"v"`
	Identity string                     `json:"identity"`
	Version  int64                      `json:"version"` // of the keystore
	Apps     map[string]json.RawMessage `json:"apps"`    // records, by id
}

// read returns the copy, or nil if there is none. The error names the file.
func (f copyFile) read() (*copied, error) {
	data, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var c copied
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err == nil {
		switch {
		case c.V > copyFormat:
			err = fmt.Errorf("it has format %d and this version reads %d", c.V, copyFormat)
		case c.V < 1:
			err = errors.New("it is not a copy of a keystore")
		case c.Identity != f.identity:
			err = fmt.Errorf("it is the copy of another keystore, %s", c.Identity)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the copy %s cannot be used: %w", f.path, err)
	}
	return &c, nil
}

// apps decodes the records.
func (c *copied) apps() ([]*keystore.App, error) {
	apps := make([]*keystore.App, 0, len(c.Apps))
	for id, record := range c.Apps {
		app, err := keystore.Decode(id, record)
		if err != nil {
			return nil, err
		}
		apps = append(apps, app)
	}
	return apps, nil
}

// write replaces the file: after a crash it has the old or the new content. Records have
// secrets, so only its owner can read it.
func (f copyFile) write(c *copied) (err error) {
	c.V, c.Identity = copyFormat, f.identity
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	next, err := os.CreateTemp(dir, filepath.Base(f.path)+".*.tmp") // 0600; two processes do not share it
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(next.Name())
		}
	}()
	_, err = next.Write(data)
	if err == nil {
		err = next.Sync()
	}
	if err = cmp.Or(err, next.Close()); err != nil {
		return err
	}
	if err := os.Rename(next.Name(), f.path); err != nil {
		return err
	}
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync() // not every system can
		_ = d.Close()
	}
	return nil
}

// useCopy has the copy written to another file from now on. The previous one stays as it is.
func (s *store) useCopy(path string) {
	now := *s.copy.Load()
	if now.path == path {
		return
	}
	now.path = path
	s.copy.Store(&now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records != nil { // otherwise Load does so
		s.markDirty()
	}
}

// markDirty schedules a write of the copy.
func (s *store) markDirty() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// keepCopy writes the copy after changes, and a last time when the store is closed.
func (s *store) keepCopy() {
	failed := false
	write := func() {
		err := s.copy.Load().write(s.snapshot())
		if err != nil && !failed {
			s.log.Warn("the copy of the keystore cannot be written, so a start without redis is not possible; name another file with `copy <file>`",
				zap.String("copy", s.copy.Load().path), zap.Error(err))
		}
		failed = err != nil
	}
	for {
		select {
		case <-s.ctx.Done():
			select {
			case <-s.dirty:
				write()
			default:
			}
			return
		case <-s.dirty:
			write()
		}
		s.wait(copyInterval)
	}
}

// snapshot returns what the copy is to contain.
func (s *store) snapshot() *copied {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &copied{Version: max(s.seen, 0), Apps: make(map[string]json.RawMessage, len(s.records))}
	maps.Copy(c.Apps, s.records)
	return c
}
