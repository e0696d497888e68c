package manage

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestHealthCheckThatHangsIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		took, err := timed(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), new(atomic.Int32), func(context.Context) error {
			<-end
			return nil
		})
		if err == nil || took != healthTimeout || !strings.Contains(err.Error(), "5s") {
			t.Errorf("%v after %v", err, took)
		}
		begin := time.Now()
		if _, err := timed(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), new(atomic.Int32), func(context.Context) error { return nil }); err != nil || time.Since(begin) > 0 {
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
			_, err := timed(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), &hanging, func(context.Context) error {
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
