package keystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"go.uber.org/zap"
)

// prepareDirectory makes a directory that nobody else can look into, or makes
// one that is there so: Badger's own files anyone could read. It warns of an
// owner other than the user of this process, who could open it again.
func prepareDirectory(dir string, user int, logger *zap.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("it cannot be created, name another with `keystore badger <dir>`: %w", err)
	}
	if err := refuseForeign(dir); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if owner, known := ownerOf(info); known && owner != user {
		logger.Warn("another user owns the keystore's directory, and can read and change all apps and keys; give it to the user who runs Caddy",
			zap.String("dir", dir), zap.Int("owner", owner), zap.String("command", fmt.Sprintf("chown -R %d %s", user, dir)))
	}
	mode := info.Mode()
	if mode.Perm()&0o077 == 0 || runtime.GOOS == "windows" { // where modes say nothing
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs its x
		return fmt.Errorf("other users can read it, and its permissions cannot be changed; run chmod 700, or name another with `keystore badger <dir>`: %w", err)
	}
	logger.Warn("other users could read the keystore's directory; its permissions have been fixed",
		zap.String("dir", dir), zap.Stringer("mode", mode))
	return nil
}

// closeFiles makes the files of a directory private, too, for whom a copy of
// them is given, or the directory is opened. Badger makes files that anyone may
// read, as it needs them, so this is done again from time to time.
func closeFiles(dir string, logger *zap.Logger) {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		info, statErr := entry.Info()
		if statErr != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 == 0 || runtime.GOOS == "windows" {
			continue // or gone, as Badger removes files
		}
		if chmodErr := os.Chmod(filepath.Join(dir, entry.Name()), 0o600); !errors.Is(chmodErr, fs.ErrNotExist) {
			err = errors.Join(err, chmodErr)
		}
	}
	if err != nil {
		logger.Warn("some files of the keystore could not be made private, but its directory is", zap.String("dir", dir), zap.Error(err))
	}
}

// refuseForeign keeps us from closing a directory to those who need it, such
// as /var/lib, for a slip in the configuration.
func refuseForeign(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "MANIFEST")); err == nil {
		return nil // Badger's
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == "KEYREGISTRY" {
			return fmt.Errorf("%s is that of a keystore whose file MANIFEST is missing: it is damaged, restore a backup", dir)
		}
	}
	for _, entry := range entries {
		// What Badger makes before MANIFEST, and what a new volume has.
		if !slices.Contains([]string{"LOCK", "MANIFEST-REWRITE", "lost+found", answeredName}, entry.Name()) {
			return fmt.Errorf("%s has other contents (%s): name a directory for the keystore alone with `keystore badger <dir>`, for example %s",
				dir, entry.Name(), filepath.Join(dir, "realtime"))
		}
	}
	return nil
}
