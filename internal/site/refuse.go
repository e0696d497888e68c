package site

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// Refuse responds with an error and adds its code to Caddy's access log, because a
// status such as 401 can mean several errors.
func Refuse(w http.ResponseWriter, r *http.Request, refusal *apierr.Error) {
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.String("realtime_error", refusal.Code))
	}
	refusal.Write(w)
}
