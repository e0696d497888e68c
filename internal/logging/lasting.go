// Package logging provides a logger that outlives a configuration.
package logging

import (
	"slices"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// A Lasting writes to the log of the running configuration. Long-lived objects use
// it because a reload closes the log files of the old configuration.
type Lasting struct {
	current *atomic.Pointer[zapcore.Core]
	fields  []zapcore.Field
}

// New returns a Lasting that initially writes to first.
func New(first *zap.Logger) *Lasting {
	l := &Lasting{current: new(atomic.Pointer[zapcore.Core])}
	l.Use(first)
	return l
}

// Use redirects all further output to another logger.
func (l *Lasting) Use(logger *zap.Logger) {
	core := logger.Core()
	l.current.Store(&core)
}

// Logger returns a named logger that stays valid across reloads.
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
	// The inner core decides and writes the entry itself: its Check may sample or
	// tee.
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
