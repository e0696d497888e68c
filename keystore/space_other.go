//go:build !linux && !darwin && !freebsd

package keystore

import "math"

// freeSpace is unknown on this platform.
func freeSpace(string) (uint64, error) { return math.MaxUint64, nil }

// inUse is unknown on this platform.
func inUse(string) bool { return false }
