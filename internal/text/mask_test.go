package text

import (
	"strings"
	"testing"
)

func TestKeysAreMaskedBeforeTextIsCut(t *testing.T) {
	const secret = "0123456789abcdefghijABCDEFGHIJ42"
	for _, prefix := range []string{"pk_live_", "sub_live_", "sign_live_", "whsec_"} {
		for _, before := range []string{"", "Bearer ", "https://", "a=", strings.Repeat("x", 40), strings.Repeat("x", 62), "sub_live", "whsec"} {
			for _, after := range []string{"", " ", "\n" + secret, "," + prefix + secret, strings.Repeat("y", 400)} {
				sent := before + prefix + secret + after
				for name, got := range map[string]string{
					"quote": Quote(sent), "maskKeys": MaskKeys(sent),
				} {
					if strings.Contains(got, secret[:1]) || len(before) < 40 && !strings.Contains(got, prefix+"…") {
						t.Errorf("%s of %q is %s", name, sent, got)
					}
				}
			}
		}
	}
	for _, s := range []string{"", "app_0123456789", "stream_live_scores", "pk_liv", "https://shop.example"} {
		if got := MaskKeys(s); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}
