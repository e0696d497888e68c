//go:build unix

package descriptors

import "syscall"

// Limit is how many file descriptors the process may have, 0 if
// nobody knows. Go has raised it to the hard limit at the start.
func Limit() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return uint64(limit.Cur) //nolint:unconvert // it is signed on some systems
}
