package keystore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestDirectoryIsClosedToOthers(t *testing.T) {
	for name, test := range map[string]struct {
		make  os.FileMode // 0: it does not exist yet
		warns int
	}{
		"a new one":          {0, 0},
		"a private one":      {0o700, 0},
		"one that is open":   {0o755, 1},
		"one of a group":     {0o770, 1},
		"one to go through":  {0o711, 1},
		"open to the world!": {0o777, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			if test.make != 0 {
				if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, test.make)); err != nil {
					t.Fatal(err)
				}
			}
			core, logs := observer.New(zapcore.WarnLevel)
			store, err := OpenBadger(dir, zap.New(core))
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			if m := mode(t, dir); m != 0o700 || logs.Len() != test.warns {
				t.Errorf("mode %s, %d warnings", m, logs.Len())
			}
		})
	}
}

func TestDirectoryOfOthersIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, dir, dir, "notes", "keystore badger <dir>", filepath.Join(dir, "realtime"))
	if m := mode(t, dir); m != 0o755 {
		t.Errorf("its mode is %s now", m)
	}
}

// A first start that was killed leaves LOCK; a new volume has lost+found.
func TestDirectoryAlmostEmptyIsTaken(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "LOCK"), nil, 0o600), os.Mkdir(filepath.Join(dir, "lost+found"), 0o700)); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestUnusablePathsGetAdvice(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		wantRefusal(t, path, file, "not a directory", "keystore badger <dir>")
	}
	// The tests may run as root, who can write anywhere.
	for _, text := range []string{
		`Cannot write pid file "/d/LOCK" err: open /d/LOCK: permission denied`,
		`while opening memtables err: open /d/00001.mem: read-only file system`,
	} {
		err := explain("/d", errors.New(text))
		if !strings.Contains(err.Error(), "the user who runs Caddy") || !strings.Contains(err.Error(), text) {
			t.Error(err)
		}
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := t.TempDir()
	private := func(when string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) == 0 {
			t.Fatal(entries, err)
		}
		for _, entry := range entries {
			if m := mode(t, filepath.Join(dir, entry.Name())); m != 0o600 {
				t.Errorf("%s, %s has mode %s", when, entry.Name(), m)
			}
		}
	}
	store, err := OpenBadger(dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	private("open")
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	private("closed")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries { // as an older version left the files
		if err := os.Chmod(filepath.Join(dir, entry.Name()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir)
	private("open again")
}

func TestDirectoryOfAnotherOwnerIsWarnedOf(t *testing.T) {
	dir := t.TempDir()
	core, logs := observer.New(zapcore.WarnLevel)
	for user, warns := range map[int]int{os.Geteuid(): 0, os.Geteuid() + 1: 1} {
		if err := errors.Join(os.Chmod(dir, 0o700), prepareDirectory(dir, user, zap.New(core))); err != nil {
			t.Fatal(err)
		}
		entries := logs.TakeAll()
		if len(entries) != warns {
			t.Fatalf("%d warnings for user %d", len(entries), user)
		}
		if want := fmt.Sprintf("chown -R %d %s", user, dir); warns == 1 && entries[0].ContextMap()["command"] != want {
			t.Errorf("the command is %v, want %s", entries[0].ContextMap(), want)
		}
	}
}
