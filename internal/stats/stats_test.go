package stats_test

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-c079cc48/caddy-realtime/internal/stats"
)

// gather returns all series, from a registry as strict as Caddy's: by the
// family's name without its prefix, and the values of its labels.
func gather(t *testing.T, s *stats.Stats) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(s); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := make(map[string]float64)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := strings.TrimPrefix(family.GetName(), "caddy_realtime_")
			for _, label := range metric.GetLabel() {
				name += " " + label.GetValue()
			}
			if h := metric.GetHistogram(); h != nil {
				series[name+" count"], series[name+" sum"] = float64(h.GetSampleCount()), h.GetSampleSum()
				continue
			}
			series[name] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return series
}

// check compares some series, of which 0 may also mean that there is none.
func check(t *testing.T, s *stats.Stats, want map[string]float64) {
	t.Helper()
	got := gather(t, s)
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %v, want %v", name, got[name], value)
		}
	}
}

// named counts the apps that have series of their own.
func named(series map[string]float64) int {
	n := 0
	for name := range series {
		if strings.HasPrefix(name, "app_messages_total ") && name != "app_messages_total other" {
			n++
		}
	}
	return n
}

func TestAppsOverTheBoundAreCountedTogether(t *testing.T) {
	s := stats.New()
	const more = 7
	for i := range stats.MaxApps + more {
		id := strconv.Itoa(i)
		s.Enter(id)
		s.Enter(id)
		s.Published(s.App(id), 10, 3, time.Millisecond)
	}
	if n := named(gather(t, s)); n != stats.MaxApps {
		t.Errorf("%d apps have series of their own", n)
	}
	check(t, s, map[string]float64{
		"app_messages_total 0":            1,
		"app_messages_total other":        more,
		"app_deliveries_total other":      3 * more,
		"app_published_bytes_total other": 10 * more,
		"app_delivered_bytes_total other": 30 * more,
	})
}

func TestAppThatIsGoneLeavesItsPlaceAndTheTotal(t *testing.T) {
	s := stats.New()
	for i := range stats.MaxApps + 1 {
		s.Enter(strconv.Itoa(i))
	}
	gone := s.App("0")
	s.Published(gone, 10, 1, time.Millisecond)
	s.Forget("0")
	s.Forget("0")
	s.Forget("never was")
	s.Published(gone, 10, 1, time.Millisecond) // was on its way
	s.Refuse(gone, "publish", "rate_limited")
	s.Enter("new")
	s.Enter("too many")
	series := gather(t, s)
	for name := range series {
		if strings.HasPrefix(name, "app_") && (strings.HasSuffix(name, " 0") || strings.Contains(name, " 0 ") || strings.Contains(name, "too many")) {
			t.Errorf("there is %s", name)
		}
	}
	if _, ok := series["app_messages_total new"]; !ok || named(series) != stats.MaxApps {
		t.Errorf("%d apps have series of their own", named(series))
	}
	check(t, s, map[string]float64{
		"app_messages_total other":           0,
		"messages_total":                     2,
		"published_bytes_total":              20,
		"refused_total publish rate_limited": 1,
	})
	if s.App(strconv.Itoa(stats.MaxApps)) != s.App("too many") {
		t.Error("an app that had no place has got one")
	}
}

func TestNothingIsLostBetweenGoroutines(t *testing.T) {
	s := stats.New()
	s.Enter("a")
	const goroutines, each = 8, 1_000
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for i := range each {
				s.Published(s.App("a"), 2, i%5, time.Duration(i)*time.Microsecond)
				s.Refuse(s.App("a"), "publish", "rate_limited")
				s.Refuse(s.UnknownApp(), "connect", "unknown_app")
			}
		})
	}
	all.Wait()
	const n = goroutines * each
	check(t, s, map[string]float64{
		"messages_total":                                n,
		"deliveries_total":                              2 * n,
		"published_bytes_total":                         2 * n,
		"delivered_bytes_total":                         4 * n,
		"message_subscribers count":                     n,
		"message_subscribers sum":                       2 * n,
		"publish_duration_seconds count":                n,
		"app_messages_total a":                          n,
		"app_deliveries_total a":                        2 * n,
		"refused_total publish rate_limited":            n,
		"refused_total connect unknown_app":             n,
		"app_refused_total a publish rate_limited":      n,
		"app_refused_total unknown connect unknown_app": n,
	})
}

func TestOperationsOfTheStoreAreCollectedBeforeTheFirst(t *testing.T) {
	s := stats.New()
	for _, operation := range []string{stats.Put, stats.Delete, stats.PutUsed, stats.Check} {
		if _, ok := gather(t, s)["store_errors_total "+operation]; !ok {
			t.Errorf("there is no %s", operation)
		}
	}
	s.Store.Observe(stats.Put, time.Second, nil)
	s.Store.Observe(stats.Put, time.Second, errors.New("no space left"))
	check(t, s, map[string]float64{
		"store_operation_duration_seconds put count": 2,
		"store_operation_duration_seconds put sum":   2,
		"store_errors_total put":                     1,
	})
}

func TestMessageIsCountedWithoutAnAllocation(t *testing.T) {
	s := stats.New()
	s.Enter("app_0123456789abcdefghij")
	id := "app_" + "0123456789abcdefghij"
	if n := testing.AllocsPerRun(100, func() { s.Published(s.App(id), 100, 1_000, time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPublished(b *testing.B) {
	s := stats.New()
	const id = "app_0123456789abcdefghij"
	s.Enter(id)
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Published(s.App(id), 100, 1_000, 300*time.Microsecond)
		}
	})
	b.Run("all cores", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				s.Published(s.App(id), 100, 1_000, 300*time.Microsecond)
			}
		})
	})
	b.Run("with the clock", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			received := time.Now()
			s.Published(s.App(id), 100, 1_000, time.Since(received))
		}
	})
}

func BenchmarkRefuse(b *testing.B) {
	s := stats.New()
	b.ReportAllocs()
	for b.Loop() {
		s.Refuse(s.UnknownApp(), "publish", "unknown_app")
	}
}
