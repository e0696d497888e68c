package realtime

import (
	"sync/atomic"
	"time"
)

// sayEvery is how often the log hears of what strangers can cause at will.
const sayEvery = 10 * time.Second

// seldom is for a line of the log that is written at most so often. Its zero
// value has not been.
type seldom struct{ last atomic.Int64 } // in Unix seconds

// now says whether the line is to be written.
func (s *seldom) now() bool {
	now, last := time.Now().Unix(), s.last.Load()
	return now-last >= int64(sayEvery.Seconds()) && s.last.CompareAndSwap(last, now)
}
