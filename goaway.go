package realtime

import "net/http"

// A leavingWriter has an HTTP/2 connection end behind an answer of a server that
// is about to end. Go's server tells its connections so when it is told itself,
// and misses one whose TLS handshake is under way: that would be used on, at a
// configuration that has been replaced, and an exit would wait for it until it
// has been idle for five minutes.
type leavingWriter struct {
	http.ResponseWriter
	ending <-chan struct{}
}

// newLeavingWriter returns w where that cannot happen.
func newLeavingWriter(w http.ResponseWriter, r *http.Request, ending <-chan struct{}) http.ResponseWriter {
	if r.ProtoMajor != 2 {
		return w
	}
	return &leavingWriter{w, ending}
}

// leave sends GOAWAY, which is what Go makes of this header over HTTP/2.
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
	w.leave() // of no effect behind the header
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *leavingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
