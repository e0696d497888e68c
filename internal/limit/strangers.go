package limit

import (
	"sync"
	"time"
)

// MaxStrangers is how many keys Strangers remembers per window.
const MaxStrangers = 10_000

// Strangers is a set of rolling windows like Group, for keys that any client
// can choose. A key is forgotten if none of its events was accepted for a
// window or two, which changes no answer. At most MaxStrangers keys of a window
// are remembered: when that many are, new keys have no limit. All its methods
// can be called concurrently. The zero value is ready to use.
type Strangers[K comparable] struct {
	mu     sync.Mutex // guards recent
	recent Recent[K, *Rolling]
}

// Allow accepts and counts an event, like [Group.Allow].
func (s *Strangers[K]) Allow(key K, limit int, window time.Duration) Result {
	if limit <= 0 || window <= 0 {
		return Result{OK: true}
	}
	if r := s.rolling(key, window); r != nil {
		return r.allowNow(1, limit, window)
	}
	return Result{OK: true}
}

// rolling returns the key's window, or nil if there is no room for it.
func (s *Strangers[K]) rolling(key K, window time.Duration) *Rolling {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, known, free := s.recent.Get(key, window, MaxStrangers)
	if free {
		if !known {
			r = new(Rolling)
		}
		s.recent.Put(key, r)
	}
	return r
}
