package limit

import (
	"sync/atomic"
	"time"
)

// sayEvery is how often the log hears of what strangers can cause at will.
const sayEvery = 10 * time.Second

// Seldom is for a line of the log that is written at most once in 10 seconds,
// whoever sets the clock. Its zero value has not been.
type Seldom struct{ last atomic.Pointer[time.Time] }

// Now says whether the line is to be written.
func (s *Seldom) Now() bool {
	last := s.last.Load()
	if last != nil && time.Since(*last) < sayEvery {
		return false
	}
	now := time.Now()
	return s.last.CompareAndSwap(last, &now)
}
