package webhook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Names of the files in the directory.
const (
	lockName    = "lock"  // locked while the directory is in use
	cleanName   = "clean" // is there if the last process that used it closed it
	queueSuffix = ".queue"
	unfinished  = ".new" // of a journal that is being compacted
)

// A directory has the journals of all hooks.
type directory struct {
	path  string
	lock  *os.File
	clean bool // nothing was lost when it was last closed
}

// openDirectory creates a directory if needed, and locks it.
func openDirectory(path string) (*directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("the directory of the webhooks' queues cannot be created: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the directory of the webhooks' queues cannot be written: let the user who runs Caddy own it: %w", err)
	}
	d := &directory{path: path, lock: lock}
	if err := d.take(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// take locks the directory, and marks it as in use until close.
func (d *directory) take() error {
	if err := lockFile(d.lock); err != nil {
		return fmt.Errorf("the queues of the webhooks in %s are in use, most likely by another running Caddy: "+
			"change its configuration with `caddy reload` instead of a second start: %w", d.path, err)
	}
	left, err := d.files(queueSuffix + unfinished) // by a kill
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := os.Remove(d.file(name + queueSuffix + unfinished)); err != nil {
			return err
		}
	}
	err = os.Remove(d.file(cleanName))
	d.clean = err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.sync()
}

func (d *directory) file(name string) string { return filepath.Join(d.path, name) }

// files returns the names of the files with a suffix, without it. Those of journals
// are the IDs of hooks.
func (d *directory) files(suffix string) (names []string, err error) {
	entries, err := os.ReadDir(d.path)
	for _, entry := range entries {
		if name, found := strings.CutSuffix(entry.Name(), suffix); found {
			names = append(names, name)
		}
	}
	return names, err
}

// close unlocks the directory, and marks it as clean if nothing was lost.
func (d *directory) close(clean bool) (err error) {
	if clean {
		var file *os.File
		if file, err = os.OpenFile(d.file(cleanName), os.O_WRONLY|os.O_CREATE, 0o600); err == nil {
			err = errors.Join(file.Sync(), file.Close(), d.sync())
		}
	}
	return errors.Join(err, d.lock.Close())
}

// sync waits until the names of its files are on disk.
func (d *directory) sync() error {
	if runtime.GOOS == "windows" { // has no such call
		return nil
	}
	dir, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
