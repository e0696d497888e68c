package manage

import (
	_ "embed"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
)

// openAPI describes POST /publish and the admin API. The tests check both against
// it.
//
//go:embed openapi.yaml
var openAPI []byte

func (a *API) documentRoutes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/realtime/openapi.yaml", Handler: readOnly(serveOpenAPI)},
	}
}

// serveOpenAPI needs no runtime: it serves the document in any configuration.
func serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/yaml") // RFC 9512
	h.Set("Content-Length", strconv.Itoa(len(openAPI)))
	h.Set("Cache-Control", "no-cache")
	_, _ = w.Write(openAPI) // a client that has left needs no answer
}
