package stats

import (
	"sync"
	"sync/atomic"
)

// A Refusal is what was attempted, and the code of the error that it got.
type Refusal struct{ Attempt, Code string }

// Refusals counts those of each kind. Its zero value is ready for use. Neither
// of the two names may come from outside: each pair is kept for ever.
type Refusals struct{ counts sync.Map } // Refusal → *atomic.Uint64

func (r *Refusals) add(kind Refusal, n uint64) {
	count, ok := r.counts.Load(kind)
	if !ok {
		count, _ = r.counts.LoadOrStore(kind, new(atomic.Uint64))
	}
	count.(*atomic.Uint64).Add(n)
}

// Each calls fn for every kind that there was, in no order.
func (r *Refusals) Each(fn func(kind Refusal, n uint64)) {
	r.counts.Range(func(kind, count any) bool {
		fn(kind.(Refusal), count.(*atomic.Uint64).Load())
		return true
	})
}
