//go:build !linux && !darwin && !freebsd

package keystore

import "math"

// freeSpace is not known here.
func freeSpace(string) (uint64, error) { return math.MaxUint64, nil }

// inUse is not known here.
func inUse(string) bool { return false }
