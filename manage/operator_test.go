package manage

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

func TestChangeThatOthersOvertookCanBeRepeated(t *testing.T) {
	err := fmt.Errorf("storing app app_x: %w", keystore.ErrConflict)
	for _, refusal := range []error{appError(err, "app_x"), keyError(err, "app_x", "key_x")} {
		if e := apierr.As(refusal); e.Status != http.StatusServiceUnavailable || e.RetryAfter == 0 {
			t.Errorf("%d, retry after %s: %s", e.Status, e.RetryAfter, e.Message)
		}
	}
}
