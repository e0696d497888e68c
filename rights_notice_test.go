package realtime

import (
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/token"
)

// A client that renews its token at each notice would otherwise ask its backend for one
// after the other.
func TestNoticeOfATokenThatExpiresWithinAMinuteComesHalfway(t *testing.T) {
	now := time.Now()
	for _, c := range []struct{ life, notice time.Duration }{
		{time.Hour, 59 * time.Minute},
		{2 * time.Minute, time.Minute},
		{100 * time.Second, 40 * time.Second},
		{time.Minute, 30 * time.Second},
		{2 * time.Second, time.Second},
		{-10 * time.Second, -5 * time.Second}, // in the leeway: at once
	} {
		if got := newShown(&token.Token{Expires: now.Add(c.life)}, now).notice.Sub(now); got != c.notice {
			t.Errorf("of a token that lives for %s the client is told after %s, not %s", c.life, got, c.notice)
		}
	}
}
