// Package pattern matches channels against the patterns of rules and tokens.
package pattern

import "strings"

// Matches reports whether a channel matches a pattern: a channel's name, or a
// prefix of names followed by one *.
func Matches(pattern, channel string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(channel, prefix)
	}
	return pattern == channel
}

// Prefix returns a pattern without its *, and whether the pattern is valid: an
// empty one, and one with another *, is not. The caller checks the characters.
func Prefix(pattern string) (prefix string, valid bool) {
	prefix, star := strings.CutSuffix(pattern, "*")
	return prefix, (star || prefix != "") && !strings.Contains(prefix, "*")
}
