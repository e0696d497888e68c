package site

import (
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

// The handlers of a site wrap the response writer that they pass on, and some
// interpret the output: templates executes it, intercept replaces it, a plugin
// rewrites it. Our responses contain input of clients, publishers and operators,
// which must never be interpreted. They are therefore written to the writer below
// all of those handlers.

// Answer calls serve with a writer that no handler of the site interprets. If there
// is none, the client gets an error that contains nothing from the request. Any
// client can cause this, so it is logged only when opaqueLog allows.
func Answer(w http.ResponseWriter, r *http.Request, log *zap.Logger, opaqueLog *limit.Seldom, serve func(http.ResponseWriter)) {
	below, passed, opaque := belowInterpreters(w)
	switch {
	case opaque != nil:
		if opaqueLog.Now() {
			log.Error("another handler of this site wraps the response in a type without an Unwrap method and could interpret "+
				"what clients sent; run realtime before that handler, with the global option order or in a route block",
				zap.String("type", reflect.TypeOf(opaque).String()))
		}
		Refuse(w, r, apierr.Unavailable("Another handler of this site is in the way. The server's log has the reason.", time.Minute))
	case !passed:
		serve(w)
	default:
		writer := &answerWriter{ResponseWriter: below, outer: w}
		serve(writer)
		if !writer.upgraded { // otherwise the server no longer owns the connection
			// The bypassed handlers see an empty response and may change its headers.
			// Over HTTP/3 they could do so until the headers are sent.
			_ = http.NewResponseController(below).Flush() // a client that has left needs no answer
		}
	}
}

// An answerWriter bypasses the handlers that interpret bodies. Only a websocket
// handshake, which has no body, passes through them, so that they can log it and
// know that the request has been answered.
type answerWriter struct {
	http.ResponseWriter
	outer    http.ResponseWriter
	upgraded bool // to a websocket
}

// WriteHeader implements http.ResponseWriter.
func (w *answerWriter) WriteHeader(status int) {
	if status == http.StatusSwitchingProtocols {
		w.upgraded = true
		w.outer.WriteHeader(status)
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap supports http.ResponseController.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// belowInterpreters returns the outermost writer below which no writer interprets
// bodies, and whether it bypassed any. opaque is a writer that does not reveal what
// it wraps, or nil.
func belowInterpreters(w http.ResponseWriter) (below http.ResponseWriter, passed bool, opaque http.ResponseWriter) {
	below = w
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		inner := wrapper.Unwrap()
		if !leavesBody(w, passed) {
			below, passed = inner, true
		}
		w = inner
	}
	if !isOfServer(w) {
		return nil, false, w
	}
	return below, passed, nil
}

// Packages whose writers are known to leave bodies alone: they change headers,
// count bytes, or set write deadlines.
const (
	caddyWriters   = "github.com/caddyserver/caddy/v2/modules/caddyhttp"
	headerWriters  = caddyWriters + "/headers"
	pushWriters    = caddyWriters + "/push"
	encodeWriters  = caddyWriters + "/encode"
	tracingWriters = "github.com/felixge/httpsnoop"
)

// leavesBody reports whether a writer is known not to interpret its output. passed
// reports whether an outer writer was bypassed.
func leavesBody(w http.ResponseWriter, passed bool) bool {
	switch typeOf(w).PkgPath() {
	case caddyWriters:
		// Logs and metrics use a recorder without a buffer; templates and similar
		// handlers use one with a buffer.
		recorder, ok := w.(caddyhttp.ResponseRecorder)
		return !ok || recorder.Buffer() == nil
	case headerWriters, pushWriters, tracingWriters:
		return true
	case encodeWriters:
		// A compressed response has no Content-Length, so a bypassed handler could
		// append to it.
		return !passed
	}
	return false
}

// isOfServer reports whether a writer belongs to the HTTP server itself.
func isOfServer(w http.ResponseWriter) bool {
	t := typeOf(w)
	pkg := t.PkgPath()
	return pkg == "net/http" && t.Name() != "timeoutWriter" ||
		strings.HasPrefix(pkg, "net/http/internal/") ||
		strings.HasPrefix(pkg, "golang.org/x/net/") ||
		strings.HasPrefix(pkg, "github.com/quic-go/quic-go/")
}

func typeOf(w http.ResponseWriter) reflect.Type {
	t := reflect.TypeOf(w)
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}
