package command

import (
	"strings"
	"testing"
	"time"
)

func TestExpiresIsADurationOrATimeInTheFuture(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"30d":                       now.AddDate(0, 0, 30),
		"90m":                       now.Add(90 * time.Minute),
		"1d12h":                     now.Add(36 * time.Hour),
		"2030-01-02T00:00:00Z":      now.AddDate(0, 0, 1),
		"2030-01-01T01:00:00-01:00": now.Add(2 * time.Hour),
	} {
		if got, err := parseExpires(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for text, says := range map[string]string{
		"soon":                 "a time like 2030-01-31T00:00:00Z",
		"2030-02-01":           "--expires 30d",
		"30":                   "--expires 30d",
		"0s":                   "not in the future",
		"-1h":                  "not in the future",
		"2029-12-31T23:59:59Z": "not in the future",
		"2000000h":             "omit it",
		"99999999999d":         "",
	} {
		if got, err := parseExpires(text, now); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}
