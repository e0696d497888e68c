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
type faults struct{ publish, api, subscribe, join, fetch, release, confirm limit.Seldom }

// logFailed logs a request that failed for a reason which is not the client's, as long as
// the client waits for its answer.
func logFailed(seldom *limit.Seldom, log *zap.Logger, what string, r *http.Request, err error) {
	if _, ok := errors.AsType[*apierr.Error](err); !ok && r.Context().Err() == nil {
		seldom.Log(log.Error, what, zap.Error(err))
	}
}
