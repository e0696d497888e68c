package limit

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// logEvery is the interval between log lines that clients can trigger at will.
const logEvery = 10 * time.Second

// Seldom limits log lines that clients can trigger at will to one in 10
// seconds, after a burst of Burst lines. It does not depend on the wall clock.
// All its methods can be called concurrently, and its zero value is ready to
// use.
type Seldom struct {
	// Burst is how many lines can be written at once. Default: 1.
	Burst int

	once       sync.Once // creates limiter
	limiter    *rate.Limiter
	suppressed atomic.Int64 // since the last line
}

// Now reports whether the line should be written.
func (s *Seldom) Now() bool {
	_, ok := s.Allow()
	return ok
}

// Allow reports whether the line should be written, and how many were
// suppressed since the last one.
func (s *Seldom) Allow() (suppressed int64, ok bool) {
	s.once.Do(func() { s.limiter = rate.NewLimiter(rate.Every(logEvery), max(1, s.Burst)) })
	if !s.limiter.Allow() {
		s.suppressed.Add(1)
		return 0, false
	}
	return s.suppressed.Swap(0), true
}

// Log writes the line, if it should be written, with the number of those that were
// suppressed since the last one. log is a method of a logger.
func (s *Seldom) Log(log func(string, ...zap.Field), what string, fields ...zap.Field) {
	if suppressed, ok := s.Allow(); ok {
		log(what, append(fields, zap.Int64("suppressed", suppressed))...)
	}
}
