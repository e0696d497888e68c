package access

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// maxRefusedOrigins is how many origins are logged in a window.
	maxRefusedOrigins = 100

	refusedOriginsWindow = 10 * time.Minute
)

// RefusedOrigins logs each refused origin once, with the line that would allow
// it, so that an operator who forgot one finds it in the log. Any client chooses
// what is logged here, so there is a bound for each window, and an origin is
// forgotten if it was not refused for a window or two. Its zero value is empty.
type RefusedOrigins struct {
	mu            sync.Mutex // guards all below
	recent, older map[string]struct{}
	began         time.Time // of the window of recent
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

// isNew reports whether the origin is to be logged.
func (l *RefusedOrigins) isNew(origin string) bool {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if age := now.Sub(l.began); age >= refusedOriginsWindow || l.recent == nil {
		l.older = l.recent
		if age >= 2*refusedOriginsWindow {
			l.older = nil
		}
		l.recent, l.began = make(map[string]struct{}), now
	}
	if _, known := l.recent[origin]; known || len(l.recent) >= maxRefusedOrigins {
		return false
	}
	l.recent[strings.Clone(origin)] = struct{}{}
	_, known := l.older[origin]
	return !known
}
