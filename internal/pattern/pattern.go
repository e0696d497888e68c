// Package pattern matches channels against the patterns of rules and tokens.
package pattern

import "strings"

// Matches reports whether a channel matches a pattern: a channel's name, or a
// prefix of names followed by one *.
func Matches(pattern, channel string) bool {
	// A subscribe looks at up to 100 rules. This is inlined, strings.CutSuffix not.
	n := len(pattern) - 1
	if n >= 0 && pattern[n] == '*' {
		return len(channel) >= n && channel[:n] == pattern[:n]
	}
	return pattern == channel
}

// Prefix returns a pattern without its *, and whether the pattern is valid: an
// empty one, and one with another *, is not. The caller checks the characters.
func Prefix(pattern string) (prefix string, valid bool) {
	prefix, star := strings.CutSuffix(pattern, "*")
	return prefix, (star || prefix != "") && !strings.Contains(prefix, "*")
}
