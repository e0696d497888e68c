// Package text formats text for people in messages, logs and pages.
package text

import (
	"strconv"
	"strings"
	"time"
)

// WholeSeconds returns d in seconds, rounded up and at least 1. It tells a client
// when to retry, and a retry after 0 seconds would be refused too.
func WholeSeconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}

// ShortDuration is like [time.Duration.String], but returns 1m instead of 1m0s.
func ShortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// Quote returns a client's input in a form for messages and logs: on one line,
// printable, short, and without keys.
func Quote(s string) string {
	const limit = 64
	s = MaskKeys(s) // first: a truncated key is still most of a key
	if len(s) > limit {
		return strconv.Quote(strings.ToValidUTF8(s[:limit], "")) + "…"
	}
	return strconv.Quote(s)
}
