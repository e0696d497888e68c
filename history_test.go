package realtime

import (
	"context"
	"encoding/json"
	"fmt"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// BenchmarkKeep shows what the history costs a publish: time, allocations, and
// the memory of a message that is kept.
func BenchmarkKeep(b *testing.B) {
	for _, keep := range []hub.Keep{{}, {Messages: 100, Age: 2 * time.Minute}} {
		b.Run(fmt.Sprint(keep.Messages), func(b *testing.B) {
			h := mustHub(b, hub.NewMemory())
			h.Configure(hub.Limits{History: 64 << 20})
			channels := make([]string, 1000)
			for i := range channels {
				channels[i] = fmt.Sprintf("c%06d", i)
			}
			data := json.RawMessage(`"` + strings.Repeat("x", 98) + `"`)
			publish := func(i int) {
				m := hub.Message{App: "app", Channel: channels[i%len(channels)], Event: "e", Data: data, Keep: keep}
				if _, err := h.Publish(context.Background(), m); err != nil {
					b.Fatal(err)
				}
			}
			before := heapInUse()
			for i := range 50 * len(channels) {
				publish(i)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				publish(i)
			}
			if n := h.History().Messages; n > 0 {
				b.ReportMetric(float64(heapInUse()-before)/float64(n), "B/kept")
			}
		})
	}
}

// heapInUse returns the bytes of the heap that are in use.
func heapInUse() int64 {
	goruntime.GC()
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
