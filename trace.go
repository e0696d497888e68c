package realtime

import (
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

// trace tells the span that Caddy's tracing handler has opened for a publish,
// if there is one, what became of it. The channel is not told: its name may be
// a secret, and a trace goes to others.
func (e publishEndpoint) trace(r *http.Request, receipt message.Receipt, refusal *apierr.Error) {
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
	span.SetAttributes(attribute.Int("realtime.subscribers", receipt.Subscribers))
}
