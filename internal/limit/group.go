package limit

import (
	"sync"
	"time"
)

// Group is a set of rolling windows, one for each key. All its methods can be
// called concurrently; keys do not wait for each other. The zero value is ready
// to use.
type Group struct {
	windows sync.Map // key → *Rolling
}

// Allow is AllowN for one event.
func (g *Group) Allow(key string, limit int, window time.Duration) Result {
	return g.AllowN(key, 1, limit, window)
}

// AllowN accepts and counts n events at once if, with them, no more than limit
// were accepted in the key's window that ends now; otherwise it counts none of
// them. 0 events are always accepted: the result describes the window. More than
// limit events are never accepted, whatever RetryAfter says. A limit or window of
// 0 or less means no limit: the events are accepted and not counted. Both can
// differ from call to call.
func (g *Group) AllowN(key string, n, limit int, window time.Duration) Result {
	if limit <= 0 || window <= 0 {
		return Result{OK: true}
	}
	r, ok := g.windows.Load(key)
	if !ok {
		r, _ = g.windows.LoadOrStore(key, new(Rolling))
	}
	return r.(*Rolling).allowNow(n, limit, window)
}

// Shrink frees the memory of events that no longer count, which changes no
// answer. Until then, a window keeps the memory of its busiest time.
func (g *Group) Shrink() {
	now := time.Now()
	g.windows.Range(func(_, window any) bool {
		window.(*Rolling).shrink(now)
		return true
	})
}

// Forget drops a key that is not expected again. If it is used again, it starts
// with its whole limit.
func (g *Group) Forget(key string) { g.windows.Delete(key) }
