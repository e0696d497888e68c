package message

import (
	"errors"
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
