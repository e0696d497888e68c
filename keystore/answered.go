package keystore

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/dgraph-io/badger/v4"
)

// When its log is cut off or damaged, or a file is missing, Badger starts with
// less data than it had and reports nothing: it takes what it cannot read for a
// write that a crash interrupted. So every change is counted, in its own
// transaction and, once that is on disk, in a file beside it. A store whose own
// count is lower than the file's has lost acknowledged changes.
const (
	changesKey   = "meta/changes" // the number of the last change
	answeredName = "ANSWERED"     // holds the number of the last acknowledged change
)

// answered is the ANSWERED file. It stays open, so that counting needs no new
// descriptor.
type answered struct {
	file *os.File
	last uint64 // the number in the file
}

// openAnswered opens or creates the file. It can be missing, because stores
// that predate it have none.
func openAnswered(dir string) (*answered, error) {
	path := filepath.Join(dir, answeredName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	a := &answered{file: file}
	text, err := io.ReadAll(file)
	if err == nil && len(text) == 0 {
		if err := a.write(0); err != nil {
			return nil, errors.Join(fmt.Errorf("writing %s: %w", path, err), file.Close())
		}
	} else if err == nil {
		a.last, err = parseAnswered(text)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s is damaged, restore a backup; if only that file is, remove it: %w", path, err), file.Close())
	}
	return a, nil
}

// The file is one line of fixed length, so a write touches a single block.
const answeredLine = "%020d %08x\n"

func parseAnswered(text []byte) (uint64, error) {
	if len(text) < 20 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := strconv.ParseUint(string(text[:20]), 10, 64)
	if err == nil && string(text) != lineOf(n) {
		err = errors.New("its checksum does not match its number")
	}
	return n, err
}

func lineOf(n uint64) string {
	return fmt.Sprintf(answeredLine, n, crc32.ChecksumIEEE(fmt.Appendf(nil, "%020d", n)))
}

// write stores the number. When it returns nil, the number is on disk.
func (a *answered) write(n uint64) error {
	if _, err := a.file.WriteAt([]byte(lineOf(n)), 0); err != nil {
		return err
	}
	if err := a.file.Sync(); err != nil {
		return err
	}
	a.last = n
	return nil
}

// probe returns an error if the file system rejects writes. Badger writes to
// memory-mapped files: on an XFS that has shut down after a disk error, such a
// write raises a signal that kills the process, and all of Caddy's sites with
// it.
func (a *answered) probe() error {
	_, err := a.file.WriteAt([]byte(lineOf(a.last)), 0)
	return err
}

// lost returns an error if a store that has made this many changes has lost
// some.
func (a *answered) lost(changes uint64) error {
	if changes >= a.last {
		return nil
	}
	return fmt.Errorf("it lacks the last %d of %d changes that were answered, so its files are damaged, restore a backup; "+
		"to go on with what is left, remove %s", a.last-changes, a.last, a.file.Name())
}

// countOf returns the number of changes that a store has made.
func countOf(db *badger.DB) (changes uint64, err error) {
	err = db.View(func(tx *badger.Txn) error {
		item, err := tx.Get([]byte(changesKey))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(func(value []byte) (err error) {
			changes, err = strconv.ParseUint(string(value), 10, 64)
			return err
		})
	})
	if err != nil {
		err = fmt.Errorf("its record %s is damaged, restore a backup: %w", changesKey, err)
	}
	return changes, err
}
