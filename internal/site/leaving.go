package site

import "net/http"

// A leavingWriter closes an HTTP/2 connection after a response once the server is
// shutting down. Go's server tells its connections at that time, and misses one
// whose TLS handshake is in progress: clients would keep using it, with a
// configuration that has been replaced, and an exit would wait until it has been
// idle for five minutes.
type leavingWriter struct {
	http.ResponseWriter
	ending <-chan struct{}
}

// Leaving returns a writer that closes the connection of an HTTP/2 request after
// the response if ending is closed by then. For other requests it returns w.
func Leaving(w http.ResponseWriter, r *http.Request, ending <-chan struct{}) http.ResponseWriter {
	if r.ProtoMajor != 2 {
		return w
	}
	return &leavingWriter{w, ending}
}

// leave sends GOAWAY: over HTTP/2, Go translates this header to it.
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
	w.leave() // has no effect after the header
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *leavingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
