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
	mu            sync.Mutex     // guards all below
	recent, older map[K]*Rolling // those that came in this window, and in the last only
	began         time.Time      // of this window
}

// Allow is [Rolling.Allow] for the key's window, now.
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
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if age := now.Sub(s.began); age >= window || s.recent == nil {
		s.older = s.recent
		if age >= 2*window {
			s.older = nil
		}
		s.recent, s.began = make(map[K]*Rolling), now
	}
	r := s.recent[key]
	if r != nil {
		return r
	}
	r = s.older[key]
	if len(s.recent) == MaxStrangers {
		return r
	}
	if r == nil {
		r = new(Rolling)
	}
	s.recent[key] = r
	return r
}
