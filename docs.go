package realtime

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/site"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/portal"
)

const docsMethods = "GET, HEAD"

// unknownOrigin replaces the site's origin, where it is not known, in snippets
// and on the documentation page.
const unknownOrigin = "https://YOUR_SITE"

// serveDocs responds with the documentation page, which contains this site's
// origin, paths and limits.
func (h *Handler) serveDocs(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.refuse(w, r, apierr.MethodNotAllowed(r.Method, docsMethods))
		return
	}
	var page bytes.Buffer
	if err := h.docsPage.Write(&page, h.docs(r)); err != nil {
		h.logger.Error("documentation page failed", zap.Error(err))
		h.refuse(w, r, err)
		return
	}
	header := w.Header()
	header.Set("Cache-Control", "no-store") // the page contains the client's Host
	header.Set("Content-Security-Policy", h.docsPage.Policy())
	header.Set("X-Content-Type-Options", "nosniff")
	respond.HTML(w, http.StatusOK, page.Bytes())
}

// refuse responds with an error.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	site.Refuse(w, r, h.docsPlace(r).explain(apierr.As(err)))
}

// docsPlace is the location of a documentation page as one client sees it.
type docsPlace struct {
	path   string // "" if there is none
	host   string // as sent by the client
	secure bool
}

func (h *Handler) docsPlace(r *http.Request) docsPlace {
	if h.docsPage == nil {
		return docsPlace{host: r.Host}
	}
	return docsPlace{path: cmp.Or(h.DocsPath, "/"), host: r.Host, secure: site.IsSecure(r)}
}

// explain adds a link to the documentation of the error, if the site has a
// documentation page and its origin is known.
func (d docsPlace) explain(refusal *apierr.Error) *apierr.Error {
	if d.path == "" {
		return refusal
	}
	if origin, ok := access.SiteOrigin(d.host, d.secure); ok {
		refusal.Docs = origin + portal.URLPath(d.path) + "#" + refusal.Code
	}
	return refusal
}

func (h *Handler) docs(r *http.Request) portal.Docs {
	s := &h.app.Settings
	d := portal.Docs{
		PublishPath: portal.URLPath(h.PublishPath),
		SocketPath:  portal.URLPath(h.SocketPath),
		ShowPath:    h.SocketPath != defaultSocketPath,
		RateLimit:   "no limit",
		MaxBody:     humanize.IBytes(uint64(s.MaxBody)),
		MaxChannels: strconv.Itoa(s.MaxChannels),
		MessageRate: "no limit",
	}
	if s.MessageRate.Count > 0 {
		d.MessageRate = fmt.Sprintf("%d in %s, and always as many as its channels need", s.MessageRate.Count, text.ShortDuration(time.Duration(s.MessageRate.Window)))
	}
	if s.RateLimit.Publishes > 0 {
		d.RateLimit = fmt.Sprintf("%d in any %s (rolling window)", s.RateLimit.Publishes, text.ShortDuration(time.Duration(s.RateLimit.Window)))
	}
	var known bool
	if d.Origin, known = access.SiteOrigin(r.Host, site.IsSecure(r)); !known {
		d.Origin = unknownOrigin
	}
	return d
}
