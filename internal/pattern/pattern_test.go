package pattern

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAPatternMatchesANameOrWhatBeginsLikeIt(t *testing.T) {
	for _, tc := range []struct {
		pattern, channel string
		want             bool
	}{
		{"a", "a", true},
		{"a", "ab", false},
		{"ab", "a", false},
		{"a", "A", false},
		{"a", "", false},
		{"a*", "a", true},
		{"a*", "ab", true},
		{"a*", "ba", false},
		{"a*", "A", false},
		{"a*", "", false},
		{"*", "", true},
		{"*", "anything", true},
		{"orders.*", "orders.", true},
		{"orders.*", "orders", false},
		{"orders.*", "orders.42.items", true},
		{"orders.*", "ordersx42", false},
		{"a.b", "axb", false},
		{"a.*", "a*", false},
	} {
		if got := Matches(tc.pattern, tc.channel); got != tc.want {
			t.Errorf("%q matches %q: %t", tc.pattern, tc.channel, got)
		}
	}
}

func TestAPatternHasOneStarAtItsEnd(t *testing.T) {
	for pattern, prefix := range map[string]string{"a": "a", "a*": "a", "*": "", "private-user.42": "private-user.42", "a.b-*": "a.b-"} {
		if got, valid := Prefix(pattern); !valid || got != prefix {
			t.Errorf("%q: %q, %t", pattern, got, valid)
		}
	}
	for _, pattern := range []string{"", "**", "*a", "a*b", "a**", "*a*", "a*b*", "***"} {
		if _, valid := Prefix(pattern); valid {
			t.Errorf("%q is valid", pattern)
		}
	}
}

// FuzzPatterns compares patterns with regular expressions that say the same.
func FuzzPatterns(f *testing.F) {
	for _, seed := range [][2]string{
		{"a", "a"},
		{"a*", "ab"},
		{"*", ""},
		{"", ""},
		{"orders.*", "orders.42"},
		{"orders.*", "ordersx"},
		{"a**", "a*b"},
		{"a*b", "axb"},
		{"*a", "ba"},
		{"a.b", "axb"},
		{"[ab]*", "a"},
		{"a+*", "aa"},
		{"(a|b)*", "a"},
		{"^a$", "a"},
		{"a\n*", "a\nb\n"},
		{"a", "a\n"},
		{`a\*`, "a*"},
		{"É*", "é"},
		{"a?*", "ab"},
	} {
		f.Add(seed[0], seed[1])
	}
	shape := regexp.MustCompile(`(?s)\A([^*]+|([^*]*)\*)\z`)
	f.Fuzz(func(t *testing.T, pattern, channel string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(channel) {
			return // regexp reads both as text, and channels are ASCII
		}
		prefix, valid := Prefix(pattern)
		if valid != shape.MatchString(pattern) {
			t.Fatalf("%q is valid: %t", pattern, valid)
		}
		if !valid {
			return
		}
		expression := `(?s)\A` + regexp.QuoteMeta(prefix)
		if strings.HasSuffix(pattern, "*") {
			expression += ".*"
		}
		if got, want := Matches(pattern, channel), regexp.MustCompile(expression+`\z`).MatchString(channel); got != want {
			t.Fatalf("%q matches %q: %t, but not %s", pattern, channel, got, expression)
		}
	})
}
