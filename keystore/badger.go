package keystore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	compression "github.com/dgraph-io/badger/v4/options"
	"go.uber.org/zap"
)

// Badger is a store in its own directory, with one JSON record per app.
type Badger struct {
	dir     string
	log     *zap.Logger
	minFree uint64 // bytes of free disk space that a write requires
	quit    chan struct{}
	work    sync.WaitGroup // garbage collection and reopening

	mu       sync.Mutex // guards the fields below; held while db is in use
	db       *badger.DB
	changes  uint64    // the number of db's last change
	answered *answered // opened once db holds the directory's lock; closed with db
	broken   error     // why db must not be used until it is reopened
}

// Keys of records.
const (
	appPrefix  = "app/"
	usedPrefix = "used/" // with the same id
	formatKey  = "meta/format"
)

// maxInline is the record size, in bytes, from which Badger uses its value log:
// an app with some two thousand keys.
const maxInline = 512 << 10

// minFree is more than Badger's files can grow before free space is checked
// again. Badger writes to memory-mapped sparse files: on a full disk, such a
// write is not an error but a signal that kills the process, and all of Caddy's
// sites with it.
const minFree = 16 << 20

// options suit thousands of small records that are read once; Badger's defaults
// take hundreds of megabytes of memory and gigabytes of address space.
func options(dir string, log *badgerLog) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(log).
		WithSyncWrites(true).
		WithNumVersionsToKeep(1).
		WithDetectConflicts(false). // the registry is the only writer
		WithMetricsEnabled(false).
		WithMemTableSize(4 << 20). // an inline record is at most 15% of it
		WithNumMemtables(1).
		WithNumLevelZeroTables(2).
		WithBaseTableSize(1 << 20).
		WithValueThreshold(maxInline).
		WithValueLogFileSize(16 << 20).
		WithNumCompactors(2). // the minimum
		WithNumGoroutines(1).
		WithCompression(compression.None). // so no cache is needed either
		WithBlockCacheSize(0)
}

// OpenBadger opens the store in a directory, and creates it if needed. The
// directory must contain nothing else; other users lose access to it. Only one
// process can have it open at a time. The errors say what to do if another
// process has it open, the directory is unusable, the store is damaged, or a
// newer version wrote it.
func OpenBadger(dir string, logger *zap.Logger) (*Badger, error) {
	if err := prepareDirectory(dir, os.Geteuid(), logger); err != nil {
		return nil, fmt.Errorf("the directory of the keystore, %s: %w", dir, err)
	}
	b := &Badger{dir: dir, log: logger, minFree: minFree, quit: make(chan struct{})}
	if err := b.checkSpace(); err != nil {
		return nil, err
	}
	if err := b.open(); err != nil {
		return nil, err
	}
	closeFiles(dir, logger)
	b.work.Go(b.collectGarbage)
	return b, nil
}

// OpenBadgerToCopy is OpenBadger for another program than the gateway. It refuses the
// directory of another user, who could not use the files that Badger creates in it.
// Without create, the error is fs.ErrNotExist if there is no store.
func OpenBadgerToCopy(dir string, logger *zap.Logger, create bool) (*Badger, error) {
	info, err := os.Stat(filepath.Join(dir, "MANIFEST"))
	if err != nil {
		if !create {
			return nil, fmt.Errorf("there is no keystore in %s: %w", dir, err)
		}
		info, err = os.Stat(dir)
	}
	if err == nil {
		if owner, known := ownerOf(info); known && owner != os.Geteuid() {
			return nil, fmt.Errorf("the keystore in %s belongs to another user: run this command as that user, sudo -u '#%d' caddy realtime …", dir, owner)
		}
	}
	return OpenBadger(dir, logger)
}

// open opens and verifies the store in the directory. The caller must hold mu
// once the store is in use.
func (b *Badger) open() error {
	if err := checkTables(b.dir); err != nil {
		if inUse(b.dir) { // by a process that is writing a table
			return errInUse(b.dir)
		}
		return fmt.Errorf("opening the keystore in %s: %w", b.dir, err)
	}
	db, log, err := b.openFiles()
	if err != nil {
		return explain(b.dir, err)
	}
	if err := b.take(db, log); err != nil {
		return errors.Join(fmt.Errorf("opening the keystore in %s: %w", b.dir, err), db.Close())
	}
	return nil
}

// take adopts a database if it is intact.
func (b *Badger) take(db *badger.DB, log *badgerLog) error {
	if err := whole(db, log); err != nil {
		return err
	}
	changes, err := countOf(db)
	if err != nil {
		return err
	}
	if b.answered == nil {
		if b.answered, err = openAnswered(b.dir); err != nil {
			return err
		}
	}
	err = b.answered.lost(changes)
	if err == nil {
		err = identify(db)
	}
	if err != nil {
		err = errors.Join(err, b.answered.file.Close())
		b.answered = nil
		return err
	}
	b.db, b.changes = db, changes
	return nil
}

// openFiles opens Badger. A kill while Badger creates a file leaves it empty;
// Badger then finishes the file but reports that as an error, so the next
// attempt finds a valid one.
func (b *Badger) openFiles() (db *badger.DB, log *badgerLog, err error) {
	const attempts, emptyFile = 5, "Create a new file"
	for range attempts {
		log = &badgerLog{logger: b.log}
		db, err = badger.Open(options(b.dir, log))
		if err == nil || !strings.Contains(err.Error(), emptyFile) {
			break
		}
	}
	return db, log, err
}

// explain turns Badger's error into advice. Badger flattens wrapped errors to
// text, so only the text can be matched.
func explain(dir string, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "Another process is using this Badger database"):
		return errInUse(dir)
	case strings.Contains(text, syscall.EACCES.Error()), strings.Contains(text, syscall.EROFS.Error()):
		return fmt.Errorf("the keystore in %s cannot be written: "+
			"let the user who runs Caddy own the directory, or name another with `keystore badger <dir>`: %w", dir, err)
	case strings.Contains(text, syscall.EMFILE.Error()), strings.Contains(text, syscall.ENFILE.Error()):
		return fmt.Errorf("opening the keystore in %s: the process may not open more files, raise that limit (LimitNOFILE in systemd): %w", dir, err)
	}
	return fmt.Errorf("opening the keystore in %s: if it is damaged, restore a backup: %w", dir, err)
}

func errInUse(dir string) error {
	return fmt.Errorf("the keystore in %s is in use, most likely by another running Caddy: "+
		"change its configuration with `caddy reload` instead of a second start, "+
		"give this one another directory with `keystore badger <dir>`, or stop that Caddy to copy its keystore", dir)
}

// whole returns an error if Badger has found the store damaged.
func whole(db *badger.DB, log *badgerLog) error {
	// Badger skips a table with a damaged index and only logs it. It reads a
	// table with damaged data up to the damage.
	if message := log.firstError.Load(); message != nil {
		return fmt.Errorf("it is damaged, restore a backup: %s", *message)
	}
	if err := db.VerifyChecksum(); err != nil {
		return fmt.Errorf("it is damaged, restore a backup: %w", err)
	}
	return nil
}

// identify refuses a store of another program or of a newer version, and marks
// a new one.
func identify(db *badger.DB) error {
	return db.Update(func(tx *badger.Txn) error {
		item, err := tx.Get([]byte(formatKey))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return markNew(tx)
		}
		if err != nil {
			return fmt.Errorf("reading its format: %w", err)
		}
		return item.Value(checkFormat)
	})
}

// Check implements [Store].
func (b *Badger) Check(context.Context) error {
	return b.view(func(tx *badger.Txn) error {
		item, err := tx.Get([]byte(formatKey))
		if err != nil {
			return fmt.Errorf("reading its format: %w", err)
		}
		return item.Value(checkFormat)
	})
}

// markNew writes the format into an empty store. A non-empty store without a
// format is not ours.
func markNew(tx *badger.Txn) error {
	it := tx.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	if it.Rewind(); it.Valid() {
		return errors.New("it is the database of another program: name another directory with `keystore badger <dir>`")
	}
	return tx.Set([]byte(formatKey), []byte(strconv.Itoa(storeFormat)))
}

func checkFormat(value []byte) error {
	v, err := strconv.Atoi(string(value))
	switch {
	case err != nil || v < 1:
		return fmt.Errorf("its record %s is damaged, restore a backup: %q", formatKey, value)
	case v > storeFormat:
		return fmt.Errorf("it has format %d and this version reads %d: run the newer version that wrote it", v, storeFormat)
	}
	return nil
}

func (b *Badger) checkSpace() error {
	free, err := freeSpace(b.dir)
	switch {
	case err != nil:
		return fmt.Errorf("asking for the free space in %s: %w", b.dir, err)
	case free < b.minFree:
		return fmt.Errorf("the disk of the keystore in %s is full: it has %d KiB, and %d KiB are needed to write safely; free some space",
			b.dir, free>>10, b.minFree>>10)
	}
	return nil
}

// Load implements [Store].
func (b *Badger) Load(context.Context) ([]*App, error) {
	var apps []*App
	err := b.view(func(tx *badger.Txn) error {
		it := tx.NewIterator(badger.IteratorOptions{Prefix: []byte(appPrefix)})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			id := strings.TrimPrefix(string(it.Item().Key()), appPrefix)
			data, err := it.Item().ValueCopy(nil)
			if err != nil {
				return fmt.Errorf("the record of app %q cannot be read: %w", id, err)
			}
			app, err := Decode(id, data)
			if err != nil {
				return err
			}
			apps = append(apps, app)
		}
		return nil
	})
	return apps, err
}

// Get implements [Store].
func (b *Badger) Get(_ context.Context, id string) (app *App, err error) {
	err = b.view(func(tx *badger.Txn) error {
		app, err = get(tx, id)
		return err
	})
	return app, err
}

// get returns the app with that id, or nil if there is none.
func get(tx *badger.Txn, id string) (app *App, err error) {
	item, err := tx.Get([]byte(appPrefix + id))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the record of app %q cannot be read: %w", id, err)
	}
	err = item.Value(func(data []byte) error {
		app, err = Decode(id, data)
		return err
	})
	return app, err
}

// Put implements [Store].
func (b *Badger) Put(_ context.Context, before, after *App) error {
	data, err := Encode(after)
	if err != nil {
		return err
	}
	if err := b.compare(after.ID, before); err != nil {
		return err
	}
	return b.change(func(tx *badger.Txn) error { return tx.Set([]byte(appPrefix+after.ID), data) }, len(data) >= maxInline)
}

// compare returns ErrConflict if the stored app is not want. Only one process
// has the store open, and its registry makes one change at a time.
func (b *Badger) compare(id string, want *App) error {
	if err := b.checkSpace(); err != nil {
		return err
	}
	return b.view(func(tx *badger.Txn) error {
		kept, err := get(tx, id)
		if err == nil && !same(kept, want) {
			err = ErrConflict
		}
		return err
	})
}

// Delete implements [Store].
func (b *Badger) Delete(ctx context.Context, before *App) error {
	if kept, err := b.Get(ctx, before.ID); err != nil || kept == nil {
		return err
	}
	if err := b.compare(before.ID, before); err != nil {
		return err
	}
	return b.change(func(tx *badger.Txn) error {
		return errors.Join(tx.Delete([]byte(appPrefix+before.ID)), tx.Delete([]byte(usedPrefix+before.ID)))
	}, false)
}

// LoadUsed implements [Store]. It skips records that it cannot read: they must
// not prevent a start.
func (b *Badger) LoadUsed(context.Context) (map[string]time.Time, error) {
	used := make(map[string]time.Time)
	err := b.view(func(tx *badger.Txn) error {
		it := tx.NewIterator(badger.IteratorOptions{Prefix: []byte(usedPrefix)})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if err := it.Item().Value(func(data []byte) error { return json.Unmarshal(data, &used) }); err != nil {
				b.log.Warn("the last-use times of an app's keys are lost: its record is damaged",
					zap.ByteString("record", it.Item().Key()), zap.Error(err))
			}
		}
		return nil
	})
	return used, err
}

// PutUsed implements [Store].
func (b *Badger) PutUsed(_ context.Context, app string, keys map[string]time.Time) error {
	data, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	if err := b.checkSpace(); err != nil {
		return err
	}
	return b.write(func(db *badger.DB) error {
		return db.Update(func(tx *badger.Txn) error { return tx.Set([]byte(usedPrefix+app), data) })
	})
}

// Interface guards
var _ Store = (*Badger)(nil)
