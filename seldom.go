package realtime

import (
	"sync/atomic"
	"time"
)

// sayEvery is how often the log hears of what strangers can cause at will.
const sayEvery = 10 * time.Second

// seldom is for a line of the log that is written at most so often, whoever sets
// the clock. Its zero value has not been.
type seldom struct{ last atomic.Pointer[time.Time] }

// now says whether the line is to be written.
func (s *seldom) now() bool {
	last := s.last.Load()
	if last != nil && time.Since(*last) < sayEvery {
		return false
	}
	now := time.Now()
	return s.last.CompareAndSwap(last, &now)
}
