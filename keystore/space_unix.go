//go:build linux || darwin || freebsd

package keystore

import (
	"os"
	"syscall"
)

// freeSpace returns how many bytes can still be written in a directory.
func freeSpace(dir string) (uint64, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(dir, &s)
	return uint64(max(0, s.Bavail)) * uint64(s.Bsize), err //nolint:unconvert // their types differ between systems
}

// inUse reports whether a process holds Badger's lock on a directory.
func inUse(dir string) bool {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close() // also releases the lock
	return syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
}
