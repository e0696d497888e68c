package realtime

import (
	"errors"
	"net/http"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

// faults limit log lines about what happens to many clients at once while something is
// away.
type faults struct{ publish, api, subscribe, join, fetch, release limit.Seldom }

// logSeldom logs the first one of such lines, and then one in 10 seconds, with the number
// of those in between. log is a method of a logger.
func logSeldom(seldom *limit.Seldom, log func(string, ...zap.Field), what string, fields ...zap.Field) {
	if suppressed, ok := seldom.Allow(); ok {
		log(what, append(fields, zap.Int64("suppressed", suppressed))...)
	}
}

// logFailed logs a request that failed for a reason which is not the client's, as long as
// the client waits for its answer.
func logFailed(seldom *limit.Seldom, log *zap.Logger, what string, r *http.Request, err error) {
	if _, ok := errors.AsType[*apierr.Error](err); !ok && r.Context().Err() == nil {
		logSeldom(seldom, log.Error, what, zap.Error(err))
	}
}
