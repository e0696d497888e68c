package text

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestRetryAfterIsRoundedUp(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "1", time.Nanosecond: "1", time.Second: "1", time.Second + 1: "2", time.Minute: "60",
	} {
		if got := WholeSeconds(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}

func TestDurationsAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Minute: "1m", time.Hour: "1h", 90 * time.Minute: "1h30m", 90 * time.Second: "1m30s",
		10 * time.Second: "10s", 20 * time.Minute: "20m", time.Hour + time.Second: "1h0m1s",
	} {
		if got := ShortDuration(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}

func TestQuotedInputIsShortAndPrintable(t *testing.T) {
	for _, s := range []string{strings.Repeat("é", 1000), "a\nb\x00\u202e", "\xff\xfe", ""} {
		got := Quote(s)
		if len(got) > 150 || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\x00\u202e") {
			t.Errorf("%q is quoted as %s", s, got)
		}
	}
}
