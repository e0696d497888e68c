package access

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// perMinute is how many failures per minute the tests allow.
const perMinute = 30

// held returns how long a failure from an address is held.
func held(ctx context.Context, f *Failures, ip string) time.Duration {
	begin := time.Now()
	f.Hold(ctx, ip, perMinute, time.Minute)
	return time.Since(begin)
}

func TestAddressWithManyWrongKeysIsSlowedDownAndNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f Failures
		for i := range perMinute {
			if d := held(t.Context(), &f, "192.0.2.1"); d != 0 {
				t.Fatalf("failure %d is held for %v", i, d)
			}
			held(t.Context(), &f, fmt.Sprintf("2001:db8:0:1::%x", i)) // the same client prefix
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
		var f Failures
		for range perMinute {
			f.Hold(t.Context(), "192.0.2.1", perMinute, time.Minute)
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
