package redis

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/random"
)

// info returns the numbers of INFO.
func (s *redisServer) info() map[string]float64 {
	s.t.Helper()
	all := make(map[string]float64)
	for line := range strings.Lines(s.cli("INFO")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = n
		}
	}
	return all
}

// measure runs do for 1 to b.N from so many goroutines, and reports what it costs Redis:
// CPU time, and memory that it still uses afterwards.
func (s *redisServer) measure(b *testing.B, goroutines int, do func(i int64)) {
	b.Helper()
	var working sync.WaitGroup
	var n atomic.Int64
	before := s.info()
	b.ResetTimer()
	for range goroutines {
		working.Go(func() {
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				do(i)
			}
		})
	}
	working.Wait()
	b.StopTimer()
	after := s.info()
	used := func(name string) float64 { return (after[name] - before[name]) / float64(b.N) }
	b.ReportMetric(1e6*(used("used_cpu_user")+used("used_cpu_sys")), "redis-µs/op")
	b.ReportMetric(used("used_memory"), "redis-B/op")
}

// BenchmarkCost measures what things cost Redis, as docs/cluster.md has it.
func BenchmarkCost(b *testing.B) {
	const channels = 100
	for _, interested := range []int{0, 1, 2, 4, 8, 16} {
		for _, batch := range []int{1, 100} {
			b.Run(fmt.Sprintf("publish/machines=%d/batch=%d", interested, batch), func(b *testing.B) {
				s := startRedis(b)
				for range interested {
					m := s.join("")
					for c := range channels {
						m.subscribe("app", fmt.Sprint("c", c))
					}
				}
				publisher := s.join("")
				s.measure(b, 64, func(i int64) {
					all := make([]*hub.Message, batch)
					for j := range all {
						all[j] = message("app", fmt.Sprint("c", (int(i)+j)%channels), "e")
						all[j].Keep = hub.Keep{Messages: 100, Age: 2 * time.Minute}
					}
					publisher.publish(all...)
				})
			})
		}
	}
	b.Run("session", func(b *testing.B) {
		s := startRedis(b)
		store := s.gateway().store
		s.measure(b, 16, func(int64) {
			r := record(random.Text(20), 1)
			if err := store.SaveSession(b.Context(), r, time.Hour); err != nil {
				b.Error(err)
			}
		})
	})
	b.Run("takeover", func(b *testing.B) {
		s := startRedis(b)
		one, other := s.gateway().store, s.gateway().store
		for i := range b.N {
			if err := one.SaveSession(b.Context(), record(fmt.Sprint(i+1), 1), time.Hour); err != nil {
				b.Fatal(err)
			}
		}
		s.measure(b, 16, func(i int64) {
			pid := fmt.Sprint(i)
			_, machine, err := other.FindSession(b.Context(), "app", pid)
			if err != nil {
				b.Error(err)
			}
			if taken, err := other.TakeSession(b.Context(), "app", pid, machine); err != nil || !taken {
				b.Errorf("taken: %t, %v", taken, err)
			}
		})
	})
	b.Run("channel", func(b *testing.B) {
		s := startRedis(b)
		m := s.join("")
		s.measure(b, 16, func(i int64) {
			if err := m.Interest(b.Context(), "app", fmt.Sprint("c", i), true); err != nil {
				b.Error(err)
			}
		})
	})
	for _, machines := range []int{1, 8} {
		b.Run(fmt.Sprintf("second/machines=%d", machines), func(b *testing.B) {
			s := startRedis(b)
			for range machines {
				s.gateway()
			}
			s.measure(b, 1, func(int64) { time.Sleep(time.Second) })
		})
	}
}
