package keystore

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// badgerLog writes Badger's messages to the log. Routine messages get the debug
// level.
type badgerLog struct {
	logger     *zap.Logger
	firstError atomic.Pointer[string] // nil if there was none
}

// Errorf implements badger.Logger.
func (l *badgerLog) Errorf(format string, args ...any) {
	message := l.write(zapcore.ErrorLevel, format, args)
	l.firstError.CompareAndSwap(nil, &message)
}

// Warningf implements badger.Logger.
func (l *badgerLog) Warningf(format string, args ...any) {
	l.write(zapcore.WarnLevel, format, args)
}

// Infof implements badger.Logger.
func (l *badgerLog) Infof(format string, args ...any) {
	l.write(zapcore.DebugLevel, format, args)
}

// Debugf implements badger.Logger.
func (l *badgerLog) Debugf(format string, args ...any) {
	l.write(zapcore.DebugLevel, format, args)
}

func (l *badgerLog) write(level zapcore.Level, format string, args []any) string {
	if level == zapcore.DebugLevel && !l.logger.Core().Enabled(level) {
		return ""
	}
	message := strings.TrimSpace(fmt.Sprintf(format, args...))
	l.logger.Log(level, "badger", zap.String("message", message))
	return message
}

// Interface guards
var _ badger.Logger = (*badgerLog)(nil)
