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

// prepareDirectory creates a directory that other users cannot read, or makes
// an existing one private: Badger's own files are readable by anyone. It warns
// if the owner is not this process's user, because the owner can open the
// directory again.
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
	if mode.Perm()&0o077 == 0 || runtime.GOOS == "windows" { // where modes mean nothing
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs its x
		return fmt.Errorf("other users can read it, and its permissions cannot be changed; run chmod 700, or name another with `keystore badger <dir>`: %w", err)
	}
	logger.Warn("other users could read the keystore's directory; its permissions have been fixed",
		zap.String("dir", dir), zap.Stringer("mode", mode))
	return nil
}

// closeFiles also makes the files in the directory private, in case they are
// copied or the directory is opened to others. Badger creates files as it needs
// them, readable by anyone, so this is repeated from time to time.
func closeFiles(dir string, logger *zap.Logger) {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		info, statErr := entry.Info()
		if statErr != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 == 0 || runtime.GOOS == "windows" {
			continue // or Badger has removed it
		}
		if chmodErr := os.Chmod(filepath.Join(dir, entry.Name()), 0o600); !errors.Is(chmodErr, fs.ErrNotExist) {
			err = errors.Join(err, chmodErr)
		}
	}
	if err != nil {
		logger.Warn("some files of the keystore could not be made private, but its directory is", zap.String("dir", dir), zap.Error(err))
	}
}

// refuseForeign prevents a configuration mistake from making a shared directory
// private, for example /var/lib.
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
		// Badger creates these before MANIFEST, and a new volume has
		// lost+found.
		if !slices.Contains([]string{"LOCK", "MANIFEST-REWRITE", "lost+found", answeredName}, entry.Name()) {
			return fmt.Errorf("%s has other contents (%s): name a directory for the keystore alone with `keystore badger <dir>`, for example %s",
				dir, entry.Name(), filepath.Join(dir, "realtime"))
		}
	}
	return nil
}
