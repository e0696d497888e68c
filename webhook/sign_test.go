package webhook

import (
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/whsec"
)

// The example of the specification's libraries.
func TestSignatureIsThatOfStandardWebhooks(t *testing.T) {
	secret, err := whsec.Parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := signature([][]byte{secret}, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
