package realtime

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// aMinute is the default.
var aMinute = Rate{Count: 30, Window: caddy.Duration(time.Minute)}

// held is how long a failure from an address is held.
func held(ctx context.Context, f *failures, ip string) time.Duration {
	begin := time.Now()
	f.hold(ctx, ip, aMinute)
	return time.Since(begin)
}

func TestAddressWithManyWrongKeysIsSlowedDownAndNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f failures
		for i := range aMinute.Count {
			if d := held(t.Context(), &f, "192.0.2.1"); d != 0 {
				t.Fatalf("failure %d is held for %v", i, d)
			}
			held(t.Context(), &f, fmt.Sprintf("2001:db8:0:1::%x", i)) // one customer's
		}
		for ip, want := range map[string]time.Duration{
			"192.0.2.1": failureHold, "::ffff:192.0.2.1": failureHold, "2001:db8:0:1:ffff::1": failureHold,
			"192.0.2.2": 0, "2001:db8:0:2::1": 0, "": 0, "@": 0,
		} {
			if d := held(t.Context(), &f, ip); d != want {
				t.Errorf("%s is held for %v", ip, d)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), failureHold/2)
		defer cancel()
		if d := held(ctx, &f, "192.0.2.1"); d != failureHold/2 {
			t.Errorf("a client that has gone is held for %v", d)
		}
		time.Sleep(time.Minute)
		if d := held(t.Context(), &f, "192.0.2.1"); d != 0 {
			t.Errorf("a minute later it is held for %v", d)
		}
	})
}

func TestNoMoreThanSomeAnswersAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f failures
		for range aMinute.Count {
			f.hold(t.Context(), "192.0.2.1", aMinute)
		}
		f.held.Store(maxHeld)
		if d := held(t.Context(), &f, "192.0.2.1"); d != 0 {
			t.Errorf("one more than may be is held for %v", d)
		}
		f.held.Store(0)
		if d := held(t.Context(), &f, "192.0.2.1"); d != failureHold {
			t.Errorf("with room again it is held for %v", d)
		}
	})
}

func TestWrongKeysAreSlowAndRightOnesAreNot(t *testing.T) {
	s := newPublishServer(t, nil)
	publish := func(key string) (int, time.Duration) {
		r := s.request(t, goodBody)
		r.Header.Set("Authorization", "Bearer "+key)
		begin := time.Now()
		res, _ := s.do(t, r)
		return res.StatusCode, time.Since(begin)
	}
	for range aMinute.Count {
		publish("pk_live_wrong")
	}
	if status, took := publish("pk_live_wrong"); status != http.StatusUnauthorized || took < failureHold {
		t.Errorf("a wrong key: %d after %v", status, took)
	}
	if status, took := publish(s.shop.publishKey); status != http.StatusOK || took >= failureHold {
		t.Errorf("a right key: %d after %v", status, took)
	}
}
