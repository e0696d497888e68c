package realtime

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/idempotent"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// recoveryFileHead begins a recovery file. The gob of a recoveryFile follows, and
// the SHA-256 of both. It changes with the format.
const recoveryFileHead = "caddy-realtime recovery 3\n"

// noRecoveryFile is the setting that turns the file off.
const noRecoveryFile = "off"

// A recoveryFile is what a process leaves to the next one.
type recoveryFile struct {
	Saved    time.Time
	Keystore string // its identity
	Hub      *hub.Snapshot
	Keys     []idempotent.Saved // what was published must not be published again
}

// recoveryPath returns the path of the recovery file, or "" if it is off.
func (rt *runtime) recoveryPath() string {
	switch path := rt.settings().RecoveryFile; path {
	case noRecoveryFile:
		return ""
	case "":
		return rt.defaultRecoveryPath()
	default:
		return path
	}
}

func (rt *runtime) defaultRecoveryPath() string {
	if rt.keystoreDir != "" {
		return filepath.Join(rt.keystoreDir, "recovery")
	}
	return filepath.Join(caddy.AppDataDir(), "realtime.recovery")
}

const (
	// answerTimeout bounds how long save waits for publishes in flight.
	answerTimeout = 2 * time.Second

	// saveTimeout bounds how long an exit waits for the disk.
	saveTimeout = 5 * time.Second
)

// save writes the recovery file, once nothing is published any longer. After a reload to
// another keystore or broker it does not: a later reload back would take the file for what
// was published last, although the other one has published since.
func (rt *runtime) save() {
	if rt.replaced() {
		return
	}
	path, snapshot := rt.recoveryPath(), rt.hub.Snapshot()
	if path == "" || snapshot == nil || len(snapshot.Sessions) == 0 && len(snapshot.Streams) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	file := &recoveryFile{Keystore: rt.key.keystore, Hub: snapshot, Keys: rt.hub.SaveKeys(ctx)}
	file.Saved = time.Now()
	if err := within(saveTimeout, func() error { return writeRecoveryFile(path, file) }); err != nil {
		rt.log.Error("the recovery file could not be written: clients that come back have to begin again",
			zap.String("path", path), zap.Error(err))
		return
	}
	rt.log.Info("wrote the recovery file", zap.String("path", path),
		zap.Int("sessions", len(snapshot.Sessions)), zap.Duration("took", time.Since(file.Saved)))
}

// within does something that writes. If the disk hangs, it is abandoned: nothing can
// end it.
func within(limit time.Duration, write func() error) error {
	written := make(chan error, 1)
	go func() { written <- write() }()
	select {
	case err := <-written:
		return err
	case <-time.After(limit):
		return fmt.Errorf("it was not written within %s; its disk hangs", limit)
	}
}

// restore reads the recovery file and removes it: what it says is true only once.
// Without one that it can use, clients that come back have to begin again.
func (rt *runtime) restore() {
	path := rt.recoveryPath()
	if usual := rt.defaultRecoveryPath(); path != usual {
		// A later process must not take it for what this one leaves.
		if err := removeRecoveryFile(usual); err == nil {
			rt.log.Info("removed a recovery file that the configuration does not use any longer", zap.String("path", usual))
		}
	}
	if path == "" {
		return
	}
	_ = os.Remove(path + unfinished) // of a process that was killed while it wrote
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		rt.log.Debug("no recovery file", zap.String("path", path))
		return
	}
	if err == nil {
		err = removeRecoveryFile(path)
	}
	var file *recoveryFile
	if err == nil {
		file, err = readRecoveryFile(data)
	}
	if err == nil && file.Keystore != rt.key.keystore {
		err = fmt.Errorf("it is of another keystore, %s", file.Keystore) // which another process may have used since
	}
	if err != nil {
		rt.log.Warn("the recovery file is not used: clients that come back have to begin again", zap.String("path", path), zap.Error(err))
		return
	}
	elapsed := time.Since(file.Saved)
	known := func(app string) bool { _, ok := rt.registry.App(app); return ok }
	messages, sessions := rt.hub.Restore(file.Hub, elapsed, known)
	rt.hub.RestoreKeys(file.Keys, elapsed)
	rt.log.Info("read the recovery file", zap.String("path", path), zap.Duration("age", elapsed),
		zap.Int("messages", messages), zap.Int("sessions", sessions), zap.Int("sessions_dropped", len(file.Hub.Sessions)-sessions))
}

// removeRecoveryFile removes a file so that it is not back after a power failure.
func removeRecoveryFile(path string) error {
	if info, err := os.Lstat(path); err != nil || info.IsDir() {
		return cmp.Or(err, errRecoveryFile)
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync() // not every system can
		_ = dir.Close()
	}
	return nil
}

// unfinished is how the name of a file that is being written ends.
const unfinished = ".tmp"

// writeRecoveryFile writes a file that is whole or absent.
func writeRecoveryFile(path string, file *recoveryFile) (err error) {
	f, err := os.OpenFile(path+unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	sum := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(f, sum), 1<<16)
	if _, err := w.WriteString(recoveryFileHead); err != nil {
		return err
	}
	if err := gob.NewEncoder(w).Encode(file); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := f.Write(sum.Sum(nil)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

var errRecoveryFile = errors.New("the file is truncated or damaged")

// readRecoveryFile returns a file that is whole, or an error.
func readRecoveryFile(data []byte) (*recoveryFile, error) {
	if !bytes.HasPrefix(data, []byte(recoveryFileHead)) {
		head, _, _ := bytes.Cut(data[:min(len(data), 64)], []byte("\n"))
		return nil, fmt.Errorf("it begins with %q, not with %q: another version wrote it", head, recoveryFileHead[:len(recoveryFileHead)-1])
	}
	body := len(data) - sha256.Size
	if body < len(recoveryFileHead) {
		return nil, errRecoveryFile
	}
	if sum := sha256.Sum256(data[:body]); !bytes.Equal(sum[:], data[body:]) {
		return nil, errRecoveryFile
	}
	file := new(recoveryFile)
	if err := gob.NewDecoder(bytes.NewReader(data[len(recoveryFileHead):body])).Decode(file); err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	if file.Hub == nil {
		return nil, errRecoveryFile
	}
	if err := file.Hub.Check(); err != nil {
		return nil, fmt.Errorf("its content is impossible: %w", err)
	}
	return file, nil
}

// keystoreDirOf returns the directory of a keystore that has one.
func keystoreDirOf(opener keystore.Opener) string {
	if badger, ok := opener.(*BadgerKeystore); ok {
		return badger.dir
	}
	return ""
}
