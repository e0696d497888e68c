package realtime

import (
	"slices"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// A lastingLogger writes to the log of whichever configuration runs: what
// outlives a configuration must not write to files that a reload has closed.
type lastingLogger struct {
	current *atomic.Pointer[zapcore.Core]
	fields  []zapcore.Field
}

func newLastingLogger(first *zap.Logger) *lastingLogger {
	l := &lastingLogger{current: new(atomic.Pointer[zapcore.Core])}
	l.use(first)
	return l
}

// use has everything written to another log from now on.
func (l *lastingLogger) use(logger *zap.Logger) {
	core := logger.Core()
	l.current.Store(&core)
}

// logger returns a logger that never needs to be replaced.
func (l *lastingLogger) logger(name string) *zap.Logger {
	return zap.New(l).Named(name)
}

// Enabled implements zapcore.Core.
func (l *lastingLogger) Enabled(level zapcore.Level) bool {
	return (*l.current.Load()).Enabled(level)
}

// With implements zapcore.Core.
func (l *lastingLogger) With(fields []zapcore.Field) zapcore.Core {
	return &lastingLogger{current: l.current, fields: append(slices.Clip(l.fields), fields...)}
}

// Check implements zapcore.Core.
func (l *lastingLogger) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	// The inner core decides, and writes by itself: its own Check may sample
	// or tee.
	core := *l.current.Load()
	if len(l.fields) > 0 {
		core = core.With(l.fields)
	}
	return core.Check(entry, checked)
}

// Write implements zapcore.Core.
func (l *lastingLogger) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	return (*l.current.Load()).Write(entry, append(slices.Clip(l.fields), fields...))
}

// Sync implements zapcore.Core.
func (l *lastingLogger) Sync() error { return (*l.current.Load()).Sync() }

// Interface guards
var _ zapcore.Core = (*lastingLogger)(nil)
