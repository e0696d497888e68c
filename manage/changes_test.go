package manage

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

func newOperator(draining bool) Operator {
	g := &Gateway{KeystorePlace: "/store", Draining: func() bool { return draining }}
	return g.Operator(zap.NewNop())
}

// wantHanging fails unless err says that the disk hangs.
func wantHanging(t *testing.T, err error) {
	t.Helper()
	_, hangs := errors.AsType[HangingError](err)
	refusal, ok := errors.AsType[*apierr.Error](err)
	if !hangs || !ok || refusal.Status != http.StatusServiceUnavailable || !strings.Contains(refusal.Message, "/store") {
		t.Errorf("got %v", err)
	}
}

func hangs(o Operator, end <-chan struct{}) error {
	_, err := complete(o, func() (int, error) {
		<-end
		return 1, nil
	})
	return err
}

func TestServerOfTheKeystoreThatHangsIsNoDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := (&Gateway{KeystorePlace: "redis://10.0.0.5:6379/0 rt", Draining: func() bool { return false }}).Operator(zap.NewNop())
		end := make(chan struct{})
		err := hangs(o, end)
		if text := err.Error(); strings.Contains(text, "disk") || !strings.Contains(text, "see to redis://10.0.0.5:6379/0 rt") {
			t.Error(text)
		}
		close(end)
	})
}

func TestChangeThatHangsIsNotWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		draining bool
		want     time.Duration
	}{"while it serves": {false, changeTimeout}, "while it shuts down": {true, changeGrace}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOperator(c.draining)
				end, begin := make(chan struct{}), time.Now()
				wantHanging(t, hangs(o, end))
				if took := time.Since(begin); took != c.want {
					t.Errorf("it took %s, want %s", took, c.want)
				}
				close(end)
				synctest.Wait()
				if n := o.gateway.changes.hanging.Load(); n != 0 {
					t.Errorf("%d are left behind after they have ended", n)
				}
			})
		})
	}
}

// Changes are made one after the other, so many of them take their time.
func TestChangeWaitsWhileOthersComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOperator(false)
		end := make(chan struct{})
		go func() {
			defer close(end)
			for range 10 {
				time.Sleep(changeTimeout - time.Second)
				if _, err := complete(o, func() (int, error) { return 0, nil }); err != nil {
					t.Error(err)
				}
			}
		}()
		if err := hangs(o, end); err != nil {
			t.Error(err)
		}
	})
}

func TestChangesThatHangAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOperator(false)
		end := make(chan struct{})
		for range maxHangingChanges {
			wantHanging(t, hangs(o, end))
		}
		_, err := complete(o, func() (int, error) {
			t.Error("one more is begun")
			return 0, nil
		})
		if refusal, ok := errors.AsType[*apierr.Error](err); !ok || !strings.Contains(refusal.Message, "Nothing was changed") {
			t.Errorf("got %v", err)
		}
		close(end)
	})
}

func TestPanicInAChangeIsThatOfItsRequest(t *testing.T) {
	defer func() {
		if p, ok := recover().(string); !ok || !strings.HasPrefix(p, "boom") {
			t.Errorf("got %v", p)
		}
	}()
	_, _ = complete(newOperator(false), func() (int, error) { panic("boom") })
}
