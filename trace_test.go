package realtime

import (
	"context"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// untraced returns a publish as Caddy passes it on, whose context has some values
// but no span.
func untraced() *http.Request {
	ctx := context.Background()
	for _, key := range []caddy.CtxKey{"a", "b", "c", "d", "e", "f"} {
		ctx = context.WithValue(ctx, key, key) //nolint:fatcontext // nesting is intended
	}
	r, _ := http.NewRequestWithContext(ctx, http.MethodPost, "/publish", http.NoBody) // the URL is valid
	return r
}

func TestTraceWithoutASpanAllocatesNothing(t *testing.T) {
	r := untraced()
	if n := testing.AllocsPerRun(100, func() { publishEndpoint{}.trace(r, 3, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTraceWithoutASpan(b *testing.B) {
	r := untraced()
	b.ReportAllocs()
	for b.Loop() {
		publishEndpoint{}.trace(r, 3, nil)
	}
}
