package redis

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// measures count what hub.Measures has.
type measures struct {
	gaps, filled, lost, reconnects, publishes atomic.Uint64
	publishTime, lag                          atomic.Int64 // nanoseconds
}

// Measures implements hub.Measured.
func (b *broker) Measures() hub.Measures {
	m := &b.measures
	return hub.Measures{
		Gaps: m.gaps.Load(), Filled: m.filled.Load(), Lost: m.lost.Load(), Reconnects: m.reconnects.Load(),
		Publishes: m.publishes.Load(), PublishTime: time.Duration(m.publishTime.Load()), Lag: time.Duration(m.lag.Load()),
	}
}

// clock returns how long ago the broker was opened, in nanoseconds.
func (b *broker) clock() string { return strconv.FormatInt(int64(time.Since(b.began)), 10) }

// echoed notes how long a probe took that was sent when clock returned at.
func (m *measures) echoed(began time.Time, at string) {
	if sent, err := strconv.ParseInt(at, 10, 64); err == nil {
		m.lag.Store(int64(time.Since(began)) - sent)
	}
}

// published counts a request to publish.
func (m *measures) published(began time.Time) {
	m.publishes.Add(1)
	m.publishTime.Add(int64(time.Since(began)))
}
