package keystore

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// Badger is a store in a directory of its own.
type Badger struct {
	db   *badger.DB
	quit chan struct{}
	done sync.WaitGroup
}

const (
	appPrefix = "app/"
	formatKey = "meta/format"
)

// gcInterval is how often space of overwritten records is looked for.
const gcInterval = 10 * time.Minute

// OpenBadger opens the store in a directory, which it makes if need be. Only
// one process at a time can; the error for a second says what to do.
func OpenBadger(dir string, logger *zap.Logger) (*Badger, error) {
	if err := prepareDir(dir, logger); err != nil {
		return nil, err
	}
	// Sizes for some thousands of small records; the defaults would take
	// hundreds of megabytes.
	db, err := badger.Open(badger.DefaultOptions(dir).
		WithLogger(badgerLogger{logger.Sugar()}).
		WithSyncWrites(true).
		WithNumVersionsToKeep(1).
		WithMemTableSize(4 << 20).
		WithValueThreshold(64 << 10).
		WithValueLogFileSize(16 << 20).
		WithBaseTableSize(1 << 20).
		WithNumMemtables(2).
		WithBlockCacheSize(1 << 20).
		WithIndexCacheSize(1 << 20).
		WithNumGoroutines(1).
		WithDetectConflicts(false).
		WithMetricsEnabled(false))
	if err != nil {
		if strings.Contains(err.Error(), "Cannot acquire directory lock") {
			return nil, fmt.Errorf("%s is in use, probably by another Caddy that runs: "+
				"change its configuration with `caddy reload`, stop it, or give this one another directory (keystore badger <dir>): %w", dir, err)
		}
		return nil, fmt.Errorf("opening the keystore in %s: %w", dir, err)
	}
	b := &Badger{db: db, quit: make(chan struct{})}
	if err := b.checkFormat(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the keystore in %s: %w", dir, err), db.Close())
	}
	b.done.Go(b.collectGarbage)
	return b, nil
}

// prepareDir makes sure that nobody else can read the directory: Badger's own
// files do not.
func prepareDir(dir string, logger *zap.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the keystore's directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking at the keystore's directory: %w", err)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	logger.Warn("others could read the keystore's directory; closing it to them",
		zap.String("dir", dir), zap.Stringer("mode", info.Mode()))
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs its x
		return fmt.Errorf("closing the keystore's directory to others: %w", err)
	}
	return nil
}

// checkFormat refuses a store of a newer version, and marks a new one.
func (b *Badger) checkFormat() error {
	return b.db.Update(func(tx *badger.Txn) error {
		item, err := tx.Get([]byte(formatKey))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return tx.Set([]byte(formatKey), []byte(strconv.Itoa(format)))
		}
		if err != nil {
			return err
		}
		return item.Value(func(value []byte) error {
			v, err := strconv.Atoi(string(value))
			if err != nil || v < 1 {
				return fmt.Errorf("its format %q is unknown: restore a backup of the directory", value)
			}
			if v > format {
				return fmt.Errorf("its format is %d, this version reads %d: run the newer version that wrote it", v, format)
			}
			return nil
		})
	})
}

// Load implements Store.
func (b *Badger) Load() ([]*App, error) {
	var apps []*App
	err := b.db.View(func(tx *badger.Txn) error {
		options := badger.DefaultIteratorOptions
		options.Prefix = []byte(appPrefix)
		it := tx.NewIterator(options)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			item := it.Item()
			err := item.Value(func(value []byte) error {
				app, err := decodeApp(strings.TrimPrefix(string(item.Key()), appPrefix), value)
				apps = append(apps, app)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("loading the keystore: %w", err)
	}
	return apps, nil
}

// Put implements Store.
func (b *Badger) Put(app *App) error {
	data, err := encodeApp(app)
	if err != nil {
		return err
	}
	return b.db.Update(func(tx *badger.Txn) error { return tx.Set([]byte(appPrefix+app.ID), data) })
}

// Delete implements Store.
func (b *Badger) Delete(id string) error {
	return b.db.Update(func(tx *badger.Txn) error { return tx.Delete([]byte(appPrefix + id)) })
}

// Close implements Store.
func (b *Badger) Close() error {
	close(b.quit)
	b.done.Wait()
	return b.db.Close()
}

// collectGarbage frees the space of records that were overwritten.
func (b *Badger) collectGarbage() {
	ticker := time.NewTicker(gcInterval)
	defer ticker.Stop()
	for {
		select {
		case <-b.quit:
			return
		case <-ticker.C:
			for b.db.RunValueLogGC(0.5) == nil { // an error says that there is no more
			}
		}
	}
}

// badgerLogger writes Badger's messages to zap; what Badger tells about its
// own work is for those who debug it.
type badgerLogger struct{ log *zap.SugaredLogger }

func (l badgerLogger) Errorf(format string, a ...any)   { l.log.Errorf(trim(format), a...) }
func (l badgerLogger) Warningf(format string, a ...any) { l.log.Warnf(trim(format), a...) }
func (l badgerLogger) Infof(format string, a ...any)    { l.log.Debugf(trim(format), a...) }
func (l badgerLogger) Debugf(format string, a ...any)   { l.log.Debugf(trim(format), a...) }

func trim(format string) string { return strings.TrimRight(format, "\n") }

// Interface guards
var (
	_ Store         = (*Badger)(nil)
	_ badger.Logger = badgerLogger{}
)
