package engineio

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// Clients can have themselves cut off as often as they like, so the log has a
// line for each only up to cutoffBurst of a kind, and then one of that kind
// every cutoffEvery.
const (
	cutoffBurst = 10
	cutoffEvery = 10 * time.Second
)

// A cutoff is a kind of log line about a client that was cut off.
type cutoff int

const (
	cutoffQueueFull cutoff = iota
	cutoffWriteTimeout
	cutoffPingTimeout
	cutoffFlood
	cutoffKinds // their number
)

func (c cutoff) String() string {
	return [cutoffKinds]string{
		cutoffQueueFull:    "client cut off: its queue is full",
		cutoffWriteTimeout: "client cut off: a write timed out",
		cutoffPingTimeout:  "client cut off: it did not answer a ping",
		cutoffFlood:        "client cut off: it sends too many packets",
	}[c]
}

// A cutoffLog bounds how often the log has a line of each kind.
type cutoffLog [cutoffKinds]struct {
	limiter    *rate.Limiter
	suppressed atomic.Int64 // since the last line
}

func newCutoffLog() *cutoffLog {
	l := new(cutoffLog)
	for i := range l {
		l[i].limiter = rate.NewLimiter(rate.Every(cutoffEvery), cutoffBurst)
	}
	return l
}

// allow says whether a line of a kind is to be logged, and how many were
// suppressed since the last one.
func (l *cutoffLog) allow(kind cutoff) (suppressed int64, ok bool) {
	k := &l[kind]
	if !k.limiter.Allow() {
		k.suppressed.Add(1)
		return 0, false
	}
	return k.suppressed.Swap(0), true
}

// log reports a client that was cut off, from a goroutine of its own, because
// the caller holds mu and must not wait for a log. The session has not ended
// yet, so Server.Close waits for it.
func (s *Session) log(kind cutoff, fields ...zap.Field) {
	cfg := s.server.cfg.Load()
	entry := cfg.Logger.Check(zap.InfoLevel, kind.String())
	if entry == nil {
		return
	}
	suppressed, ok := s.server.cutoffs.allow(kind)
	if !ok {
		return
	}
	if suppressed > 0 {
		fields = append(fields, zap.Int64("suppressed", suppressed))
	}
	if cfg.Describe != nil {
		fields = append(fields, cfg.Describe(s.data)...)
	}
	s.server.open.Go(func() { entry.Write(fields...) })
}
