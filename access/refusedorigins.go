package access

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

const (
	// maxRefusedOrigins is how many origins are logged per window.
	maxRefusedOrigins = 100

	refusedOriginsWindow = 10 * time.Minute
)

// RefusedOrigins logs each refused origin once, with the line that would allow
// it, so that operators find a forgotten origin in the log. Any client can
// choose what is logged here, so the number per window is limited, and an
// origin is forgotten after a window or two without a refusal. Its zero value
// is empty.
type RefusedOrigins struct {
	mu     sync.Mutex // guards logged
	logged limit.Recent[string, struct{}]
}

// Log logs an origin that o refused, with the line that would allow it.
func (l *RefusedOrigins) Log(logger *zap.Logger, o *Origins, r *http.Request) {
	origin, ok := listable(r)
	if !ok || !l.isNew(origin) {
		return
	}
	logger.Warn("refused an origin; to allow it, write this line into the site's realtime block",
		zap.String("origin", origin),
		zap.String("line", "origins "+strings.Join(append(slices.Clone(o.list), origin), " ")))
}

// isNew reports whether the origin should be logged.
func (l *RefusedOrigins) isNew(origin string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known, free := l.logged.Get(origin, refusedOriginsWindow, maxRefusedOrigins)
	if free {
		l.logged.Put(strings.Clone(origin), struct{}{})
	}
	return free && !known
}
