package realtime

import (
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// trace adds the result of a publish to the span of Caddy's tracing handler, if
// there is one: the number of subscribers that its messages are queued for, or the
// refusal. It omits the channel: its name can be a secret, and traces are
// sent to other systems.
func (e publishEndpoint) trace(r *http.Request, subscribers int, refusal *apierr.Error) {
	span := trace.SpanFromContext(r.Context())
	if !span.IsRecording() {
		return
	}
	if app, ok := e.registry.App(r.Header.Get("X-App-Id")); ok {
		span.SetAttributes(attribute.String("realtime.app", app.ID))
	}
	if refusal != nil {
		span.SetAttributes(attribute.String("realtime.error", refusal.Code))
		return
	}
	span.SetAttributes(attribute.Int("realtime.subscribers", subscribers))
}
