package site

import "net/http"

// A leavingWriter closes an HTTP/2 connection after a response once the server is
// shutting down. Go's server notifies its connections then, but misses those whose
// TLS handshake is in progress: clients would keep using them with a replaced
// configuration, and an exit would wait until they have been idle for five minutes.
type leavingWriter struct {
	http.ResponseWriter
	ending <-chan struct{}
}

// Leaving returns a writer that closes an HTTP/2 connection after the response if
// ending is closed by then. For other protocols it returns w.
func Leaving(w http.ResponseWriter, r *http.Request, ending <-chan struct{}) http.ResponseWriter {
	if r.ProtoMajor != 2 {
		return w
	}
	return &leavingWriter{w, ending}
}

// leave sends GOAWAY, which Go sends for this header over HTTP/2.
func (w *leavingWriter) leave() {
	select {
	case <-w.ending:
		w.Header().Set("Connection", "close")
	default:
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *leavingWriter) WriteHeader(status int) {
	w.leave()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *leavingWriter) Write(b []byte) (int, error) {
	w.leave() // has no effect once the header is written
	return w.ResponseWriter.Write(b)
}

// Unwrap supports http.ResponseController.
func (w *leavingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
