package limit

import (
	"strconv"
	"testing"
	"time"
)

func BenchmarkAccepted(b *testing.B) {
	for _, limit := range []int{600, 1_000_000} {
		b.Run(strconv.Itoa(limit), func(b *testing.B) {
			var r Rolling
			now := epoch
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Minute / time.Duration(limit))
				r.Allow(now, limit, time.Minute)
			}
		})
	}
}

func BenchmarkRefused(b *testing.B) {
	var r Rolling
	b.ReportAllocs()
	for b.Loop() {
		r.Allow(epoch, 600, time.Minute)
	}
}

func BenchmarkGroup(b *testing.B) {
	for _, apps := range []int{1, 1000} {
		b.Run(strconv.Itoa(apps)+" apps", func(b *testing.B) {
			var g Group
			keys := make([]string, apps)
			for i := range keys {
				keys[i] = "app_0123456789abcdef" + strconv.Itoa(i)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					g.Allow(keys[i%apps], 600, time.Minute)
				}
			})
		})
	}
}
