package whsec

import (
	"bytes"
	"strings"
	"testing"
)

func TestSecrets(t *testing.T) {
	secret, text := New()
	again, err := Parse(text)
	if other, _ := New(); err != nil || len(secret) != 32 || !bytes.Equal(secret, again) || bytes.Equal(secret, other) {
		t.Errorf("%x is %s is %x, %v", secret, text, again, err)
	}
	for _, bad := range []string{
		"", "whsec_", "whsec", strings.TrimPrefix(text, "whsec_"), text + "\n", text + "=", strings.Replace(text, "=", "", 1),
		"whsec_c2hvcnQ=", "whsec_" + strings.Repeat("YWFh", 22), "whsec_!" + text[7:],
	} {
		if _, err := Parse(bad); err == nil || !strings.Contains(err.Error(), "whsec_") || len(bad) > 12 && strings.Contains(err.Error(), bad[6:]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
