package stats

import (
	"sync/atomic"
	"time"
)

// A Histogram counts whole numbers by their size. It takes no lock: to observe
// costs two atomic additions.
type Histogram struct {
	bounds []uint64 // ascending; a value is in the first bucket whose bound it does not exceed
	counts []atomic.Uint64
	sum    atomic.Uint64
}

// NewHistogram makes one with these upper bounds, which ascend, and a bucket
// for what is above the last.
func NewHistogram(bounds ...uint64) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// newDurations is a histogram of durations, in nanoseconds.
func newDurations(bounds ...time.Duration) *Histogram {
	whole := make([]uint64, 0, len(bounds))
	for _, bound := range bounds {
		whole = append(whole, uint64(bound))
	}
	return NewHistogram(whole...)
}

// Observe counts a value.
func (h *Histogram) Observe(value uint64) {
	i := 0
	for i < len(h.bounds) && value > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(value)
}

func (h *Histogram) observe(d time.Duration) { h.Observe(uint64(max(0, d))) }

// Snapshot is what a histogram has counted. Values that are counted meanwhile
// may be in its Sum and not in its Count, or the other way round.
type Snapshot struct {
	Count, Sum uint64
	Buckets    map[uint64]uint64 // by upper bound, how many values are no larger
}

// Snapshot reads the histogram.
func (h *Histogram) Snapshot() Snapshot {
	s := Snapshot{Buckets: make(map[uint64]uint64, len(h.bounds)), Sum: h.sum.Load()}
	for i := range h.counts {
		s.Count += h.counts[i].Load()
		if i < len(h.bounds) {
			s.Buckets[h.bounds[i]] = s.Count
		}
	}
	return s
}
