package realtime

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/portal"
)

const docsMethods = "GET, HEAD"

// serveDocs answers with the documentation page of the site: the product page
// with this site's origin, paths and limits.
func (h *Handler) serveDocs(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		errMethodNotAllowed(r.Method, docsMethods).write(w, r)
		return
	}
	var page bytes.Buffer
	if err := h.docsPage.Write(&page, h.docs(r)); err != nil {
		h.logger.Error("documentation page failed", zap.Error(err))
		asAPIError(err).write(w, r)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(page.Len()))
	header.Set("Cache-Control", "no-cache")
	header.Set("Content-Security-Policy", h.docsPage.Policy())
	header.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(page.Bytes()) // who has gone reads nothing
}

func (h *Handler) docs(r *http.Request) portal.Docs {
	s := &h.app.Settings
	d := portal.Docs{
		PublishPath: h.PublishPath,
		SocketPath:  h.SocketPath,
		ShowPath:    h.SocketPath != defaultSocketPath,
		RateLimit:   "no limit",
		MaxBody:     humanize.IBytes(uint64(s.MaxBody)),
		MaxChannels: strconv.Itoa(s.MaxChannels),
	}
	if s.RateLimit.Publishes > 0 {
		d.RateLimit = fmt.Sprintf("%d in any %s (rolling window)", s.RateLimit.Publishes, shortDuration(time.Duration(s.RateLimit.Window)))
	}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		d.Origin = repl.ReplaceAll("{http.request.scheme}://{http.request.hostport}", "")
	}
	return d
}
