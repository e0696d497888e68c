// Package random generates IDs and secrets.
package random

import (
	"crypto/rand"
	"strings"
)

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Text returns n random letters and digits, all equally likely, with almost 6 bits
// each. They need no escaping in URLs, logs and shells, unlike base64, and are
// shorter than [rand.Text] at the same strength.
func Text(n int) string {
	text := make([]byte, 0, n)
	var b [64]byte
	for {
		_, _ = rand.Read(b[:]) // never fails, see crypto/rand
		for _, c := range b {
			if int(c) >= 256-256%len(alphabet) {
				continue // a remainder would favor the first letters
			}
			text = append(text, alphabet[int(c)%len(alphabet)])
			if len(text) == n {
				return string(text)
			}
		}
	}
}

// IsText reports whether s could be a result of Text(n).
func IsText(s string, n int) bool {
	return len(s) == n && strings.Trim(s, alphabet) == ""
}
