package realtime

import (
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// maskKeys is text from a client as logs, messages and the live view may repeat
// it: keys are sent in the wrong field by mistake. Nothing after a key's prefix
// is repeated, as a key may be broken by whatever stands in it.
func maskKeys(s string) string {
	if i := keyIn(s); i >= 0 {
		return s[:i] + "…"
	}
	return s
}

// keyIn returns where the first key in s begins to be secret, which is after
// its prefix; -1 if there is none.
func keyIn(s string) int {
	first := -1
	for _, prefix := range [...]string{keystore.Publish.Prefix(), keystore.Subscribe.Prefix(), "sign_live_", "whsec_"} {
		if i := strings.Index(s, prefix); i >= 0 && (first < 0 || i+len(prefix) < first) {
			first = i + len(prefix)
		}
	}
	return first
}
