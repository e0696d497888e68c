package keystore

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
	"go.uber.org/zap"
)

// checkTables refuses truncated tables: Badger trusts the lengths at a table's
// end, and ends the process with a panic if they are wrong. It verifies
// everything else against checksums. Tables that its MANIFEST does not name are
// unfinished ones that a kill left behind; Badger removes them.
func checkTables(dir string) error {
	file, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return nil // a new store, or Badger reports why
	}
	defer file.Close()
	manifest, _, err := badger.ReplayManifestFile(file, 0, options(dir, &badgerLog{logger: zap.NewNop()}))
	if err != nil {
		return nil // Badger reports why
	}
	for id := range manifest.Tables {
		path := table.NewFilename(id, dir)
		if err := checkTable(path); err != nil {
			return fmt.Errorf("its table %s is damaged, restore a backup: %w", filepath.Base(path), err)
		}
	}
	return nil
}

// A table ends with its index, the index's length, a checksum of the index, and
// that checksum's length.
func checkTable(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	left := info.Size()
	for _, what := range []string{"checksum", "index"} {
		var length [4]byte
		if left -= 4; left < 0 {
			return fmt.Errorf("it has only %d bytes", info.Size())
		}
		if _, err := file.ReadAt(length[:], left); err != nil {
			return err
		}
		if left -= int64(binary.BigEndian.Uint32(length[:])); left < 0 {
			return fmt.Errorf("of %d bytes, its %s begins before the first", info.Size(), what)
		}
	}
	return nil
}
