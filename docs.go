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
		h.refuse(w, r, errMethodNotAllowed(r.Method, docsMethods))
		return
	}
	var page bytes.Buffer
	if err := h.docsPage.Write(&page, h.docs(r)); err != nil {
		h.logger.Error("documentation page failed", zap.Error(err))
		h.refuse(w, r, err)
		return
	}
	header := w.Header()
	header.Set("Cache-Control", "no-cache")
	header.Set("Content-Security-Policy", h.docsPage.Policy())
	header.Set("X-Content-Type-Options", "nosniff")
	writeHTML(w, http.StatusOK, page.Bytes())
}

// writeHTML answers with a page.
func writeHTML(w http.ResponseWriter, status int, page []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(status)
	_, _ = w.Write(page) // who has gone reads nothing
}

// refuse answers with an error.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	h.docsPlace(r).explain(asAPIError(err)).write(w, r)
}

// docsPlace is where a documentation page is, as one client sees its site.
type docsPlace struct {
	path   string // "" if there is none
	host   string
	secure bool
}

func (h *Handler) docsPlace(r *http.Request) docsPlace {
	return docsPlace{path: h.DocsPath, host: r.Host, secure: r.TLS != nil}
}

// explain adds to a refusal where it is explained.
func (d docsPlace) explain(refusal *apiError) *apiError {
	if d.path != "" {
		scheme := "http://"
		if d.secure {
			scheme = "https://"
		}
		refusal.Docs = scheme + d.host + d.path + "#" + refusal.Code
	}
	return refusal
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
		MessageRate: "no limit",
	}
	if s.MessageRate.Count > 0 {
		d.MessageRate = fmt.Sprintf("%d in %s, and always as many as its channels need", s.MessageRate.Count, shortDuration(time.Duration(s.MessageRate.Window)))
	}
	if s.RateLimit.Publishes > 0 {
		d.RateLimit = fmt.Sprintf("%d in any %s (rolling window)", s.RateLimit.Publishes, shortDuration(time.Duration(s.RateLimit.Window)))
	}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		d.Origin = repl.ReplaceAll("{http.request.scheme}://{http.request.hostport}", "")
	}
	return d
}
