//go:build linux || darwin || freebsd

package webhook

import (
	"os"
	"syscall"
)

// lockFile locks a file until it is closed, or returns an error if it is locked.
func lockFile(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
