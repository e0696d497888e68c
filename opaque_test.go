package realtime

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// An opaqueWriter does not reveal what it wraps.
type opaqueWriter struct{ http.ResponseWriter }

func TestAWriterThatHidesTheServersIsLoggedSeldom(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	log := zap.New(core)
	handler := &Handler{PublishPath: defaultPublishPath, SocketPath: defaultSocketPath, logger: log}
	portal := &Portal{Path: defaultPortalPath, logger: log}
	for name, site := range map[string]caddyhttp.MiddlewareHandler{defaultPublishPath: handler, defaultPortalPath + "/": portal} {
		for range 100 {
			r := httptest.NewRequest(http.MethodGet, name, nil)
			if err := site.ServeHTTP(opaqueWriter{httptest.NewRecorder()}, r, nil); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(logs.TakeAll()); n != 1 {
			t.Errorf("%s: %d lines for 100 requests, want 1", name, n)
		}
	}
}
