package realtime

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// askReady asks the endpoint, whose errors it answers with.
func askReady(s *site) (int, string) {
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(s.t.Context(), http.MethodGet, "/realtime/health", nil)
	if err := (&Admin{logger: zap.NewNop()}).ready(s.runtime, w, r); err != nil {
		apierr.As(err).Write(w)
	}
	return w.Code, w.Body.String()
}

func TestServerIsReadyAsLongAsItCanReadAndDeliver(t *testing.T) {
	s := newSite(t, nil)
	for range 3 {
		if status, body := askReady(s); status != http.StatusOK || !strings.Contains(body, `"status":"ready"`) {
			t.Fatalf("%d %s", status, body)
		}
	}
	if n := s.hub.Channels(); n != 0 {
		t.Errorf("%d channels are left", n)
	}
	s.draining.Store(true)
	if status, body := askReady(s); status != http.StatusServiceUnavailable || !strings.Contains(body, "shutting down") {
		t.Errorf("while draining: %d %s", status, body)
	}
	s.draining.Store(false)
	if err := s.registry.Close(); err != nil {
		t.Fatal(err)
	}
	if status, body := askReady(s); status != http.StatusServiceUnavailable || !strings.Contains(body, "check of keystore failed: the keystore is closed") {
		t.Errorf("without a keystore: %d %s", status, body)
	}
}

func TestHealthCheckThatHangsIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		took, err := timed(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), new(atomic.Int32), func() error {
			<-end
			return nil
		})
		if err == nil || took != healthTimeout || !strings.Contains(err.Error(), "5s") {
			t.Errorf("%v after %v", err, took)
		}
		begin := time.Now()
		if _, err := timed(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), new(atomic.Int32), func() error { return nil }); err != nil || time.Since(begin) > 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// Who asks again and again while the disk hangs leaves no more behind.
func TestChecksThatHangAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		var hanging, begun atomic.Int32
		ask := func() error {
			_, err := timed(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), &hanging, func() error {
				begun.Add(1)
				<-end
				return nil
			})
			return err
		}
		for range 100 {
			if ask() == nil {
				t.Fatal("a check that hangs passes")
			}
		}
		if n := begun.Load(); n != maxHanging {
			t.Errorf("%d checks are left behind, want %d", n, maxHanging)
		}
		close(end)
		synctest.Wait()
		if err := ask(); err != nil || hanging.Load() != 0 {
			t.Errorf("once they have ended: %v, %d", err, hanging.Load())
		}
	})
}
