package keystore

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// Badger does not survive every file error. If it cannot create its next file,
// for example because the process is out of descriptors, it answers that write
// with an error, and ends the whole process at the next write or read. So after
// a failed write it is closed and reopened, as after kill -9. In the meantime,
// changes are refused and apps are served from memory.

const (
	// reopenPause is the pause between two attempts to open a store.
	reopenPause = time.Second

	// closeLimit is how long Close waits for a store that cannot finish its
	// files: everything acknowledged is already in its log.
	closeLimit = 5 * time.Second
)

// view runs a read-only transaction.
func (b *Badger) view(read func(*badger.Txn) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil {
		return b.refusal()
	}
	return b.db.View(read)
}

// change makes a change that will be acknowledged, and counts it. A large
// record is in the value log; if that cannot be synced, Badger only logs it.
func (b *Badger) change(do func(*badger.Txn) error, large bool) error {
	return b.write(func(db *badger.DB) error {
		next := b.changes + 1
		err := db.Update(func(tx *badger.Txn) error {
			return errors.Join(do(tx), tx.Set([]byte(changesKey), strconv.AppendUint(nil, next, 10)))
		})
		if err == nil && large {
			err = db.Sync()
		}
		if err == nil {
			b.changes = next
			err = b.answered.write(next)
		}
		return err
	})
}

// write runs change. If it fails, the store is not used until it is reopened.
func (b *Badger) write(change func(*badger.DB) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil {
		return b.refusal()
	}
	err := b.answered.probe()
	if err == nil {
		err = change(b.db)
	}
	if err != nil && !errors.Is(err, badger.ErrNoRewrite) {
		b.log.Error("the keystore could not be written; it accepts no changes until it has been reopened, which is retried every second",
			zap.String("dir", b.dir), zap.Error(err))
		b.broken = err
		b.work.Go(func() { b.reopen(b.db) })
		return b.refusal()
	}
	return err
}

// refusal returns the error for a broken store. The caller must hold mu.
func (b *Badger) refusal() error {
	return fmt.Errorf("the keystore in %s failed and is being reopened, see the log: %w", b.dir, b.broken)
}

// reopen replaces a database that failed. It retries until it succeeds or the
// store is closed.
func (b *Badger) reopen(failed *badger.DB) {
	if err := failed.Close(); err != nil { // waits until its files can be written
		b.log.Warn("the failed keystore could not be closed cleanly", zap.Error(err))
	}
	b.mu.Lock()
	if err := b.answered.file.Close(); err != nil {
		b.log.Warn("the failed keystore could not be closed cleanly", zap.Error(err))
	}
	b.answered = nil
	b.mu.Unlock()
	for {
		b.mu.Lock()
		err := b.open()
		if err == nil {
			b.broken = nil
			b.mu.Unlock()
			b.log.Info("the keystore was reopened and accepts changes", zap.String("dir", b.dir))
			return
		}
		if b.broken.Error() != err.Error() { // a new reason
			b.log.Error("the keystore cannot be reopened yet", zap.Error(err))
		}
		b.broken = err
		b.mu.Unlock()
		select {
		case <-b.quit:
			return
		case <-time.After(reopenPause):
		}
	}
}

// Close implements [Store].
func (b *Badger) Close() error {
	close(b.quit)
	ended := make(chan error, 1)
	go func() {
		b.work.Wait()
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.broken != nil {
			ended <- nil // everything is closed already
			return
		}
		err := errors.Join(b.db.Close(), b.answered.file.Close())
		closeFiles(b.dir, b.log)
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-time.After(closeLimit): // the goroutine ends when the files can be written, or with the process
		return fmt.Errorf("the keystore in %s cannot finish its files, see the log; the next start will, and nothing is lost", b.dir)
	}
}

// gcInterval is how often the value log is searched for overwritten records.
const gcInterval = 10 * time.Minute

// collectGarbage runs until the store is closed.
func (b *Badger) collectGarbage() {
	ticker := time.NewTicker(gcInterval)
	defer ticker.Stop()
	for {
		select {
		case <-b.quit:
			return
		case <-ticker.C:
		}
		err := error(nil)
		for err == nil { // a file was rewritten, there may be another
			err = b.write(func(db *badger.DB) error { return db.RunValueLogGC(0.5) })
		}
		closeFiles(b.dir, b.log) // including those created since the last run
		if !errors.Is(err, badger.ErrNoRewrite) {
			b.log.Warn("the space of old records could not be freed", zap.Error(err))
		}
	}
}
