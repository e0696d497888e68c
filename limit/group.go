package limit

import (
	"sync"
	"time"
)

// Group is a rolling window for each key. The zero value is ready for use.
type Group struct {
	windows sync.Map // key → *Rolling
}

// Allow is Rolling.Allow for the key's window, now.
func (g *Group) Allow(key string, limit int, window time.Duration) Result {
	r, ok := g.windows.Load(key)
	if !ok {
		r, _ = g.windows.LoadOrStore(key, new(Rolling))
	}
	return r.(*Rolling).Allow(time.Now(), limit, window)
}

// Forget drops a key that will not come again.
func (g *Group) Forget(key string) { g.windows.Delete(key) }
