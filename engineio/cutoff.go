package engineio

import (
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

// cutoffBurst is how many clients the log names at once for each kind of
// cutoff, before it limits the lines of that kind.
const cutoffBurst = 10

// A cutoff is a kind of log line about a client that was cut off.
type cutoff int

const (
	cutoffQueueFull cutoff = iota
	cutoffWriteTimeout
	cutoffPingTimeout
	cutoffFlood
	cutoffKinds // the number of kinds
)

func (c cutoff) String() string {
	return [cutoffKinds]string{
		cutoffQueueFull:    "client cut off: its queue is full",
		cutoffWriteTimeout: "client cut off: a write timed out",
		cutoffPingTimeout:  "client cut off: it did not answer a ping",
		cutoffFlood:        "client cut off: it sends too many packets",
	}[c]
}

// cutoffLines limits the log lines of each kind, because clients can get
// themselves cut off as often as they like.
type cutoffLines [cutoffKinds]limit.Seldom

func (l *cutoffLines) init() {
	for i := range l {
		l[i].Burst = cutoffBurst
	}
}

// log reports a client that was cut off. It writes from a goroutine of its own,
// because the caller holds mu and must not wait for a log. The session has not
// ended yet, so Server.Close waits for the goroutine.
func (s *Session) log(kind cutoff, fields ...zap.Field) {
	cfg := s.server.cfg.Load()
	entry := cfg.Logger.Check(zap.InfoLevel, kind.String())
	if entry == nil {
		return
	}
	suppressed, ok := s.server.cutoffs[kind].Allow()
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
