package message

import (
	"errors"
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

func TestEveryReservedEventIsRefused(t *testing.T) {
	for _, name := range []string{
		"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener",
		"subscribe", "subscribed", "subscribe_error", "unsubscribe", "unsubscribed",
	} {
		if e, ok := errors.AsType[*apierr.Error](CheckEvent(name)); !ok || e.Code != "reserved_event" {
			t.Errorf("%s: %v", name, e)
		}
	}
	for _, name := range []string{"Connect", "connected", "message", "error", "ping", "__proto__"} {
		if err := CheckEvent(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUserIsRefusedWithWhatIsWrongWithIt(t *testing.T) {
	for _, user := range []string{"4", "Ann Ölmühle", "🙂", strings.Repeat("é", 128), "..", "*", "a/b"} {
		if err := CheckUser("user", user); err != nil {
			t.Errorf("%q: %v", user, err)
		}
	}
	for user, says := range map[string]string{
		"":                       "user is empty. Set it to the user's id, which has 1 to 128 printable characters.",
		strings.Repeat("é", 129): "user has 129 characters; at most 128 are allowed",
		"a\nb":                   `user has '\n' at character 2. Allowed are printable characters.`,
		"é\u202eb":               `user has '\u202e' at character 2`,
		"\x00user:42":            `user has '\x00' at character 1`,
		"a\xed\xa0\x80":          "user is not valid Unicode",
	} {
		if err := CheckUser("user", user); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %s", user, err, says)
		}
	}
}
