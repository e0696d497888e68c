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

// checkNoKey refuses a key where a name is kept, which everyone reads who may
// list apps, and which is on disk as it is.
func checkNoKey(what, s string) error {
	const enough = 8 // of a key's secret characters; a word about keys has fewer behind a prefix
	i := keyIn(s)
	if i < 0 {
		return nil
	}
	rest := s[i:]
	if n := strings.IndexFunc(rest, func(c rune) bool { return !isKeyCharacter(c) }); n >= 0 {
		rest = rest[:n]
	}
	if len(rest) < enough {
		return nil
	}
	return errInvalidRequest("%s holds a key, and would be kept and shown as it is. Send another, and rotate that key if it is in use.", what)
}

func isKeyCharacter(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
