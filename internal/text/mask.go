package text

import (
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// MaskKeys returns s with keys masked, for logs, messages and the live view: clients
// send keys in the wrong field by mistake. It removes everything after the prefix of a
// key, because any character can interrupt a key.
func MaskKeys(s string) string {
	if i := keyIn(s); i >= 0 {
		return s[:i] + "…"
	}
	return s
}

// HasKey reports whether s contains a key. A word about keys has fewer secret
// characters after a prefix than a key.
func HasKey(s string) bool {
	const enough = 8
	i := keyIn(s)
	if i < 0 {
		return false
	}
	rest := s[i:]
	if n := strings.IndexFunc(rest, func(c rune) bool { return !isKeyCharacter(c) }); n >= 0 {
		rest = rest[:n]
	}
	return len(rest) >= enough
}

// keyIn returns the index in s at which the first key becomes secret, after its
// prefix, or -1 if there is no key.
func keyIn(s string) int {
	first := -1
	for _, prefix := range [...]string{keystore.Publish.Prefix(), keystore.Subscribe.Prefix(), keystore.Sign.Prefix(), "whsec_"} {
		if i := strings.Index(s, prefix); i >= 0 && (first < 0 || i+len(prefix) < first) {
			first = i + len(prefix)
		}
	}
	return first
}

// isKeyCharacter includes what the secrets of webhooks have, which are base64.
func isKeyCharacter(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/'
}
