package webhook

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// The example of the specification's libraries.
func TestSignatureIsThatOfStandardWebhooks(t *testing.T) {
	secret, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := signature([][]byte{secret}, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestSecrets(t *testing.T) {
	secret, text := NewSecret()
	again, err := ParseSecret(text)
	if other, _ := NewSecret(); err != nil || len(secret) != 32 || !bytes.Equal(secret, again) || bytes.Equal(secret, other) {
		t.Errorf("%x is %s is %x, %v", secret, text, again, err)
	}
	for _, bad := range []string{
		"", "whsec_", "whsec", strings.TrimPrefix(text, "whsec_"), text + "\n", text + "=", strings.Replace(text, "=", "", 1),
		"whsec_c2hvcnQ=", "whsec_" + strings.Repeat("YWFh", 22), "whsec_!" + text[7:],
	} {
		if _, err := ParseSecret(bad); err == nil || !strings.Contains(err.Error(), "whsec_") || len(bad) > 12 && strings.Contains(err.Error(), bad[6:]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
