//go:build linux || darwin || freebsd

package keystore

import "syscall"

// freeSpace is how many bytes can still be written in a directory.
func freeSpace(dir string) (uint64, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(dir, &s)
	return uint64(max(0, s.Bavail)) * uint64(s.Bsize), err //nolint:unconvert // their types differ between systems
}
