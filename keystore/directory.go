package keystore

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"go.uber.org/zap"
)

// prepareDirectory makes a directory that nobody else can look into, or makes
// one that is there so: Badger's own files anyone could read.
func prepareDirectory(dir string, logger *zap.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("it cannot be made, name another with `keystore badger <dir>`: %w", err)
	}
	if err := refuseForeign(dir); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	warnOfOwner(dir, info, os.Geteuid(), logger)
	mode := info.Mode()
	if mode.Perm()&0o077 == 0 || runtime.GOOS == "windows" { // where modes say nothing
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs its x
		return fmt.Errorf("others can look into it, and it cannot be closed to them; run chmod 700, or name another with `keystore badger <dir>`: %w", err)
	}
	logger.Warn("others could look into the keystore's directory, which is now closed to them",
		zap.String("dir", dir), zap.Stringer("mode", mode))
	return nil
}

// warnOfOwner tells the log of a directory that does not belong to the user who
// runs Caddy.
func warnOfOwner(dir string, info os.FileInfo, user int, logger *zap.Logger) {
	if uid, known := owner(info); known && uid != user {
		logger.Warn("the keystore's directory belongs to another user, who can replace what is in it; give it to the user who runs Caddy with chown -R",
			zap.String("dir", dir), zap.Int("owner", uid), zap.Int("user", user))
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
			return fmt.Errorf("%s is not the keystore's alone, it has %s: name one that is with `keystore badger <dir>`, such as %s",
				dir, entry.Name(), filepath.Join(dir, "realtime"))
		}
	}
	return nil
}
