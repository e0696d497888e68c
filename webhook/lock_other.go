//go:build !linux && !darwin && !freebsd

package webhook

import "os"

// lockFile does nothing on this platform.
func lockFile(*os.File) error { return nil }
