package site

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// Refuse responds with an error and puts its code into Caddy's access log, where
// a 401 alone would not tell which of several errors it was.
func Refuse(w http.ResponseWriter, r *http.Request, refusal *apierr.Error) {
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.String("realtime_error", refusal.Code))
	}
	refusal.Write(w)
}
