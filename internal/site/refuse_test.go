package site

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

func TestErrorCodeIsInTheAccessLog(t *testing.T) {
	extra := new(caddyhttp.ExtraLogFields)
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ExtraLogFieldsCtxKey, extra))
	Refuse(httptest.NewRecorder(), r, apierr.AppDisabled())
	if got := fmt.Sprintf("%+v", extra); !strings.Contains(got, "realtime_error") || !strings.Contains(got, "app_disabled") {
		t.Fatalf("log fields: %s", got)
	}
}
