package site

import (
	"net/http"
	"time"
)

// BoundBody limits the time in which a request's body must arrive when the response
// does not depend on it. net/http waits for the body before it sends the response,
// or afterwards if the client asked whether to send the body.
func BoundBody(w http.ResponseWriter, r *http.Request, timeout time.Duration) {
	if r.ContentLength != 0 {
		// A writer without deadlines leaves the server's timeouts in force.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeout))
	}
}

// CloseAfter closes the connection after the response, so that the server need not
// read the rest of a refused body. Over HTTP/2 it does nothing: the header would end
// all other requests of the connection, and the stream ends without it.
func CloseAfter(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}
