package stats_test

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/stats"
)

// names are those under which apps are counted.
func names(s *stats.Stats) map[string]*stats.App {
	found := make(map[string]*stats.App)
	s.EachApp(func(name string, app *stats.App) { found[name] = app })
	return found
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
	found := names(s)
	if len(found) != stats.MaxApps+2 {
		t.Fatalf("%d names", len(found))
	}
	if n := found["0"].Messages.Load(); n != 1 {
		t.Errorf("the first app has %d messages", n)
	}
	if o := found[stats.Other]; o.Messages.Load() != more || o.Deliveries.Load() != 3*more || o.PublishedBytes.Load() != 10*more || o.DeliveredBytes.Load() != 30*more {
		t.Errorf("the others have %d messages, %d deliveries", o.Messages.Load(), o.Deliveries.Load())
	}
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
	s.Enter("new")
	s.Enter("too many")
	found := names(s)
	if found["0"] != nil || found["new"] == nil || found["too many"] != nil || len(found) != stats.MaxApps+2 {
		t.Errorf("the names are %v", found)
	}
	if n := found[stats.Other].Messages.Load(); n != 0 {
		t.Errorf("the others got %d messages", n)
	}
	if n := s.Subscribers.Snapshot().Count; n != 2 {
		t.Errorf("%d messages in all", n)
	}
	if s.App(strconv.Itoa(stats.MaxApps)) != found[stats.Other] {
		t.Error("an app that had no place has got one")
	}
}

func TestValuesAreInTheirBuckets(t *testing.T) {
	h := stats.NewHistogram(0, 1, 10)
	for _, v := range []uint64{0, 0, 1, 2, 10, 11, 1_000} {
		h.Observe(v)
	}
	got := h.Snapshot()
	if got.Count != 7 || got.Sum != 1_024 || got.Buckets[0] != 2 || got.Buckets[1] != 3 || got.Buckets[10] != 5 || len(got.Buckets) != 3 {
		t.Errorf("got %+v", got)
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
	if a := s.App("a"); a.Messages.Load() != n || a.Deliveries.Load() != 2*n || s.DeliveredBytes.Load() != 4*n {
		t.Errorf("%d messages, %d deliveries, %d bytes", a.Messages.Load(), a.Deliveries.Load(), s.DeliveredBytes.Load())
	}
	if got := s.Subscribers.Snapshot(); got.Count != n || got.Sum != 2*n {
		t.Errorf("got %+v", got)
	}
	refused := make(map[stats.Refusal]uint64)
	s.Refused.Each(func(kind stats.Refusal, n uint64) { refused[kind] = n })
	if len(refused) != 2 || refused[stats.Refusal{Attempt: "publish", Code: "rate_limited"}] != n || refused[stats.Refusal{Attempt: "connect", Code: "unknown_app"}] != n {
		t.Errorf("refused: %v", refused)
	}
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
