// Package random makes IDs and secrets.
package random

import (
	"crypto/rand"
	"strings"
)

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Text returns n letters and digits, all equally likely, which are almost 6
// random bits each. They need no escapes in URLs, logs and shells, unlike
// base64, and are shorter than [rand.Text] for the same strength.
func Text(n int) string {
	text := make([]byte, 0, n)
	var b [64]byte
	for {
		_, _ = rand.Read(b[:]) // never fails, see crypto/rand
		for _, c := range b {
			if int(c) >= 256-256%len(alphabet) {
				continue // a remainder would favour the first letters
			}
			text = append(text, alphabet[int(c)%len(alphabet)])
			if len(text) == n {
				return string(text)
			}
		}
	}
}

// IsText reports whether Text(n) may return s.
func IsText(s string, n int) bool {
	return len(s) == n && strings.Trim(s, alphabet) == ""
}
