package random

import (
	"strings"
	"testing"
)

func TestEachLetterAndDigitIsEquallyLikely(t *testing.T) {
	const each = 4_000
	text := Text(each * len(alphabet))
	if !IsText(text, each*len(alphabet)) {
		t.Error("Text makes what IsText refuses")
	}
	for letter := range strings.SplitSeq(alphabet, "") {
		// Ten standard deviations: one run in 10²² fails.
		if n := strings.Count(text, letter); n < each-10*64 || n > each+10*64 {
			t.Errorf("%d times %s of %d", n, letter, each)
		}
	}
}

func TestOtherTextIsTold(t *testing.T) {
	for _, s := range []string{"", "abc", "abcde", "ab_d", "ab-d", "ab d", "abc\n", "abç"} {
		if IsText(s, 4) {
			t.Errorf("%q", s)
		}
	}
}
