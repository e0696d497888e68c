package manage_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
)

func TestServerIsReadyAsLongAsItCanReadAndDeliver(t *testing.T) {
	s := managetest.New(t)
	draining := false
	s.Gateway.Draining = func() bool { return draining }
	for range 3 {
		if w := s.Do("GET", "/realtime/health", ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"status":"ready"`) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if n := s.Hub.Channels(); n != 0 {
		t.Errorf("%d channels are left", n)
	}
	draining = true
	if w := s.Do("GET", "/realtime/health", ""); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "shutting down") {
		t.Errorf("while draining: %d %s", w.Code, w.Body)
	}
	draining = false
	if err := s.Gateway.Registry.Close(); err != nil {
		t.Fatal(err)
	}
	if w := s.Do("GET", "/realtime/health", ""); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "check of keystore failed: the keystore is closed") {
		t.Errorf("without a keystore: %d %s", w.Code, w.Body)
	}
}
