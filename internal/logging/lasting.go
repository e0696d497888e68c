// Package logging has a logger that outlives a configuration.
package logging

import (
	"slices"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// A Lasting writes to the log of whichever configuration runs: what
// outlives a configuration must not write to files that a reload has closed.
type Lasting struct {
	current *atomic.Pointer[zapcore.Core]
	fields  []zapcore.Field
}

// New returns one that writes to first as yet.
func New(first *zap.Logger) *Lasting {
	l := &Lasting{current: new(atomic.Pointer[zapcore.Core])}
	l.Use(first)
	return l
}

// Use has everything written to another log from now on.
func (l *Lasting) Use(logger *zap.Logger) {
	core := logger.Core()
	l.current.Store(&core)
}

// Logger returns a logger that never needs to be replaced.
func (l *Lasting) Logger(name string) *zap.Logger {
	return zap.New(l).Named(name)
}

// Enabled implements zapcore.Core.
func (l *Lasting) Enabled(level zapcore.Level) bool {
	return (*l.current.Load()).Enabled(level)
}

// With implements zapcore.Core.
func (l *Lasting) With(fields []zapcore.Field) zapcore.Core {
	return &Lasting{current: l.current, fields: append(slices.Clip(l.fields), fields...)}
}

// Check implements zapcore.Core.
func (l *Lasting) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	// The inner core decides, and writes by itself: its own Check may sample
	// or tee.
	core := *l.current.Load()
	if len(l.fields) > 0 {
		core = core.With(l.fields)
	}
	return core.Check(entry, checked)
}

// Write implements zapcore.Core.
func (l *Lasting) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	return (*l.current.Load()).Write(entry, append(slices.Clip(l.fields), fields...))
}

// Sync implements zapcore.Core.
func (l *Lasting) Sync() error { return (*l.current.Load()).Sync() }

// Interface guards
var _ zapcore.Core = (*Lasting)(nil)
