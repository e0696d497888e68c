package site

import (
	"net/http"
	"time"
)

// BoundBody bounds how long the body of a request may take to arrive if the
// response does not depend on it: net/http waits for the body before it sends
// the response, or after that if the client has asked whether to send the body.
func BoundBody(w http.ResponseWriter, r *http.Request, timeout time.Duration) {
	if r.ContentLength != 0 {
		// A writer without deadlines leaves the server's own timeouts in force.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeout))
	}
}

// CloseAfter has the connection closed after the response, so that the server
// need not read what was refused. Over HTTP/2 the header would end every other
// request of the connection, and a stream ends without it.
func CloseAfter(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}
