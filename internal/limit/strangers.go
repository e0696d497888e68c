package limit

import (
	"sync"
	"time"
)

// MaxStrangers is how many keys Strangers remembers of a window.
const MaxStrangers = 10_000

// Strangers is a rolling window for each key, as Group is, for keys that anyone
// may bring. A key is forgotten when nothing of it was accepted for a window or
// two, which changes no answer, and of one window at most MaxStrangers are
// remembered: while there are that many, new keys have no limit. All its methods
// may be called concurrently. The zero value is ready for use.
type Strangers[K comparable] struct {
	mu     sync.Mutex // guards recent
	recent Recent[K, *Rolling]
}

// Allow accepts and counts an event, as [Group.Allow] does.
func (s *Strangers[K]) Allow(key K, limit int, window time.Duration) Result {
	if limit <= 0 || window <= 0 {
		return Result{OK: true}
	}
	if r := s.rolling(key, window); r != nil {
		return r.allowNow(limit, window)
	}
	return Result{OK: true}
}

// rolling is the key's, or nil if there is no room for it.
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
