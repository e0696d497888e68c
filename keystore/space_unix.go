//go:build linux || darwin || freebsd

package keystore

import (
	"os"
	"syscall"
)

// freeSpace is how many bytes can still be written in a directory.
func freeSpace(dir string) (uint64, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(dir, &s)
	return uint64(max(0, s.Bavail)) * uint64(s.Bsize), err //nolint:unconvert // their types differ between systems
}

// inUse says whether somebody has the lock that Badger takes on a directory.
func inUse(dir string) bool {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close() // which also gives the lock back
	return syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
}
