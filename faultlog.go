package realtime

import (
	"errors"
	"net/http"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

// logFault logs an error that is not the client's, as long as the client waits for its
// answer. While something is away, every request fails, and backends repeat them: so it
// logs the first one, and then one in 10 seconds.
func logFault(log *zap.Logger, seldom *limit.Seldom, what string, r *http.Request, err error) {
	if _, ok := errors.AsType[*apierr.Error](err); ok || r.Context().Err() != nil {
		return
	}
	if suppressed, ok := seldom.Allow(); ok {
		log.Error(what, zap.Int64("suppressed", suppressed), zap.Error(err))
	}
}
