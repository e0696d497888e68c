package access

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// bounded returns limits; 0 means none.
func bounded(total, perIP, connects int, window time.Duration) Limits {
	return Limits{Connections: total, ConnectionsPerIP: perIP, Connects: connects, ConnectWindow: window}
}

// outcome returns an address's result: "in", "over" or the code of a refusal.
func outcome(e *Admission, ip string, s Limits) string {
	over, refusal := e.Enter(ip, s)
	switch {
	case refusal != nil:
		return fmt.Sprintf("%d %s", refusal.Status, refusal.Code)
	case over:
		return "over"
	}
	return "in"
}

func TestAnAddressHasItsConnectionsAndNobodyElses(t *testing.T) {
	s := bounded(0, 2, 0, 0)
	var e Admission
	for i, step := range []struct{ ip, want string }{
		{"192.0.2.1", "in"},
		{"::ffff:192.0.2.1", "in"}, // the same address
		{"192.0.2.1", "over"},
		{"192.0.2.2", "in"},
		{"192.0.2.1", "over"},
		{"192.0.2.1", "429 too_many_connections"},
		{"2001:db8:0:1::1", "in"},
		{"2001:db8:0:1:ffff::1", "in"}, // the same client prefix
		{"2001:db8:0:1::2%eth0", "over"},
		{"2001:db8:0:2::1", "in"},
		{"", "in"}, // on a unix socket, all clients get in
		{"@", "in"},
		{"", "in"},
	} {
		if got := outcome(&e, step.ip, s); got != step.want {
			t.Errorf("step %d, %s: %s, not %s", i, step.ip, got, step.want)
		}
	}
	e.Leave("192.0.2.1", true)
	if got := outcome(&e, "192.0.2.1", s); got != "over" {
		t.Errorf("the place of one that was only told so: %s", got)
	}
	e.Leave("192.0.2.1", false)
	if got := outcome(&e, "192.0.2.1", s); got != "in" {
		t.Errorf("the place of one that was in: %s", got)
	}
	if got := outcome(&e, "192.0.2.1", bounded(0, 3, 0, 0)); got != "in" {
		t.Errorf("with a higher limit: %s", got)
	}
	if got := outcome(&e, "192.0.2.2", bounded(0, 1, 0, 0)); got != "over" {
		t.Errorf("with a lower limit: %s", got)
	}
}

func TestConnectionsInAllAreLimited(t *testing.T) {
	s := bounded(2, 0, 0, 0)
	var e Admission
	for i, want := range []string{"in", "in", "503 unavailable", "503 unavailable"} {
		if got := outcome(&e, fmt.Sprintf("192.0.2.%d", i), s); got != want {
			t.Errorf("client %d: %s, not %s", i, got, want)
		}
	}
	e.Leave("192.0.2.0", false)
	if got := outcome(&e, "192.0.2.9", s); got != "in" {
		t.Errorf("when one has left: %s", got)
	}
}

func TestConnectsOfAnAddressAreLimitedByTheirRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bounded(0, 0, 3, time.Minute)
		var e Admission
		for range 3 {
			if got := outcome(&e, "192.0.2.1", s); got != "in" {
				t.Fatal(got)
			}
			e.Leave("192.0.2.1", false) // a connect counts even after the connection has ended
		}
		time.Sleep(20 * time.Second)
		_, refusal := e.Enter("192.0.2.1", s)
		if refusal == nil || refusal.Status != http.StatusTooManyRequests || refusal.Code != "rate_limited" || refusal.RetryAfter != 40*time.Second {
			t.Fatalf("the fourth: %+v", refusal)
		}
		if got := outcome(&e, "192.0.2.2", s); got != "in" {
			t.Errorf("another address: %s", got)
		}
		time.Sleep(refusal.RetryAfter)
		if got := outcome(&e, "192.0.2.1", s); got != "in" {
			t.Errorf("after Retry-After: %s", got)
		}
		if e.total != 2 {
			t.Errorf("%d are counted; who is refused is not", e.total)
		}
	})
}

// Whatever clients connect and leave, under whatever limits, the counts match
// the open connections.
func TestAdmissionCountsExactly(t *testing.T) {
	type one struct {
		ip   string
		over bool
	}
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		var e Admission
		var there []one
		for range 2000 {
			if len(there) > 0 && rnd.IntN(2) == 0 {
				i := rnd.IntN(len(there))
				e.Leave(there[i].ip, there[i].over)
				there[i] = there[len(there)-1]
				there = there[:len(there)-1]
				continue
			}
			ip := []string{"", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:1::1"}[rnd.IntN(6)]
			s := bounded(rnd.IntN(20), rnd.IntN(5), rnd.IntN(2), time.Nanosecond) // as after reloads
			if over, refusal := e.Enter(ip, s); refusal == nil {
				there = append(there, one{ip, over})
			}
		}
		total := 0
		for _, c := range e.from.All() {
			total += c.within + c.over
		}
		want := 0
		for _, o := range there {
			if o.ip != "" {
				want++
			}
		}
		if e.total != len(there) || total != want {
			t.Fatalf("seed %d: %d and %d by address are counted, %d and %d are there", seed, e.total, total, len(there), want)
		}
		for _, o := range there {
			e.Leave(o.ip, o.over)
		}
		if e.total != 0 || e.from.Len() != 0 {
			t.Fatalf("seed %d: %d and %v are left", seed, e.total, e.from)
		}
	}
}

func TestRefusalsOfAdmissionAreLoggedSeldomWithTheirSetting(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	var e Admission
	s := bounded(7, 5, 3, time.Minute)
	crowded := apierr.CrowdedAddress(5)
	for range 100 {
		e.Log(zap.New(core), apierr.Full(), "192.0.2.1", s)
		e.Log(zap.New(core), crowded, "192.0.2.1", s)
		e.Log(zap.New(core), apierr.ConnectRate(3, time.Minute, time.Second), "192.0.2.1", s)
	}
	if logs.Len() > 6 { // three, or twice that if ten seconds have just passed
		t.Errorf("%d lines", logs.Len())
	}
	for _, setting := range []string{"max_connections", "max_connections_per_ip", "connect_rate"} {
		if logs.Filter(func(l observer.LoggedEntry) bool { return strings.Contains(l.Message, "raise "+setting) }).Len() == 0 {
			t.Errorf("no line names %s", setting)
		}
	}
}
