// Package bounds defines the bounds of settings, for a configuration and for an
// app. Upper bounds catch a wrong unit. The bound of a duration is also far below
// the limit of a browser's timer (2^31 ms), above which it would fire immediately.
package bounds

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// The bounds of durations, of sizes in bytes, and of counts.
const (
	MinDuration = 10 * time.Millisecond
	MaxDuration = 24 * time.Hour
	MinSize     = 1
	MaxSize     = 1 << 30
	MaxCount    = 1_000_000
)

// MaxHistory is the largest number of messages that a channel keeps.
const MaxHistory = 10_000

// CheckHistory checks a number of messages, and how long they are kept. 0
// messages are none, however long.
func CheckHistory(name string, messages int, age time.Duration) error {
	if messages == 0 {
		return nil
	}
	if messages < 0 || messages > MaxHistory {
		return fmt.Errorf("%s is %d; it must be from 1 to %d; write 0 for none", name, messages, MaxHistory)
	}
	return CheckDuration(name+"'s age", age)
}

// CheckRecovery checks a duration that can be 0, for no recovery.
func CheckRecovery(name string, d time.Duration) error {
	if d == 0 {
		return nil
	}
	if err := CheckDuration(name, d); err != nil {
		return fmt.Errorf("%w; write 0 for none", err)
	}
	return nil
}

// CheckDuration checks a setting that is a duration.
func CheckDuration(name string, d time.Duration) error {
	if d < MinDuration || d > MaxDuration {
		return fmt.Errorf("%s is %s; it must be from %s to %s", name,
			text.ShortDuration(d), text.ShortDuration(MinDuration), text.ShortDuration(MaxDuration))
	}
	return nil
}

// CheckSize checks a setting that is a size in bytes.
func CheckSize(name string, n int64) error {
	switch {
	case n < 0:
		return fmt.Errorf("%s is negative; write for example 1MiB", name)
	case n < MinSize || n > MaxSize:
		return fmt.Errorf("%s is %s; it must be from %s to %s", name,
			humanize.IBytes(uint64(n)), humanize.IBytes(MinSize), humanize.IBytes(MaxSize))
	}
	return nil
}

// CheckCount checks a setting that is a count.
func CheckCount(name string, n int) error {
	if n < 1 || n > MaxCount {
		return fmt.Errorf("%s is %d; it must be from 1 to %d", name, n, MaxCount)
	}
	return nil
}

// CheckLimit checks a limit that can be 0, for no limit.
func CheckLimit(name string, n int) error {
	if n < 0 || n > MaxCount {
		return fmt.Errorf("%s is %d; it must be from 1 to %d; write 0 for no limit", name, n, MaxCount)
	}
	return nil
}

// CheckRate checks a count per window. A count of 0 means no limit, whatever the
// window.
func CheckRate(name string, count int, window time.Duration) error {
	if count == 0 {
		return nil
	}
	if err := CheckLimit(name, count); err != nil {
		return err
	}
	return CheckDuration(name+"'s window", window)
}
