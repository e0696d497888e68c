package realtime

import (
	"slices"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/webhook"
)

// Both have a list of their own: neither package uses the other.
func TestWhatHooksCanNameIsSent(t *testing.T) {
	if stored, sent := keystore.HookEvents(), webhook.Types(); !slices.Equal(stored, sent) {
		t.Errorf("hooks can name %v, but %v are sent", stored, sent)
	}
}
