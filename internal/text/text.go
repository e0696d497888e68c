// Package text formats what people read in messages, logs and pages.
package text

import (
	"strconv"
	"strings"
	"time"
)

// WholeSeconds returns d in seconds, rounded up, and at least 1: it tells a
// client when to retry, and "now" was just refused.
func WholeSeconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}

// ShortDuration formats d like [time.Duration.String], but as 1m instead of 1m0s.
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

// Quote returns input of a client as a message or a log may repeat it: on one
// line, printable, short, and without keys.
func Quote(s string) string {
	const limit = 64
	s = MaskKeys(s) // first: a key that is cut is still most of a key
	if len(s) > limit {
		return strconv.Quote(strings.ToValidUTF8(s[:limit], "")) + "…"
	}
	return strconv.Quote(s)
}
