package engineio

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// A protocolError refuses a request in the words of a Node server, and adds the
// gateway's own error object for people.
//
// https://github.com/socketio/socket.io/blob/main/packages/engine.io/lib/server.ts
type protocolError struct {
	status  int
	Code    int    `json:"code"`
	Message string `json:"message"`
	Error   struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func newProtocolError(status, code int, message, cure string) *protocolError {
	e := &protocolError{status: status, Code: code, Message: message}
	e.Error.Code = "invalid_request"
	e.Error.Message = cure
	return e
}

var (
	errUnknownTransport = newProtocolError(http.StatusBadRequest, 0, "Transport unknown",
		`The query's transport must be "polling" or "websocket"; connect with socket.io-client 3 or 4.`)
	errUnknownSession = newProtocolError(http.StatusBadRequest, 1, "Session ID unknown",
		"The session has ended or was opened elsewhere; reconnect. Stock clients do so by themselves.")
	errHandshakeMethod = newProtocolError(http.StatusBadRequest, 2, "Bad handshake method",
		"A session is opened with GET; a POST needs the sid of an open one.")
	errBadRequest = newProtocolError(http.StatusBadRequest, 3, "Bad request",
		"The request does not fit the session's transport or state: a session on polling has one GET and one POST at a time, "+
			"and one that has moved to a websocket has none. Reconnect; stock clients do so by themselves.")
	errJSONP = newProtocolError(http.StatusBadRequest, 3, "Bad request",
		"JSONP (the query's j) is not served, as no browser since 2012 needs it; connect with socket.io-client 3 or 4.")
	errSessionMethod = newProtocolError(http.StatusBadRequest, 3, "Bad request",
		"A session on polling takes GET and POST.")
	errNoUpgrade = newProtocolError(http.StatusBadRequest, 3, "Bad request",
		"transport=websocket needs a websocket handshake (RFC 6455, section 4.2.1) over HTTP/1.1; a proxy in between may have dropped the Upgrade header.")
	errPayload = newProtocolError(http.StatusBadRequest, 3, "Bad request",
		"The body is no Engine.IO 4 payload in text/plain.")
	errTooManyPackets = newCoded(http.StatusTooManyRequests, "rate_limited",
		"This client sends too many packets, and was disconnected. Send fewer, or raise message_rate.")
	errExtendedConnect = newProtocolError(http.StatusNotImplemented, 3, "Bad request",
		"Websockets over HTTP/2 and HTTP/3 are not served; open them over HTTP/1.1, as browsers do by themselves.")
	errUnsupportedVersion = newProtocolError(http.StatusBadRequest, 5, "Unsupported protocol version",
		"This server speaks Engine.IO 4 (EIO=4): use socket.io-client 3 or 4.")
	errClosing = newUnavailable("The server is shutting down; reconnect.")
	errBusy    = newUnavailable("Too many clients are connecting at once; try again in a second. Stock clients do so by themselves.")
)

// errAccept is for a panic in the accept function of NewServer.
var errAccept = newProtocolError(http.StatusInternalServerError, 3, "Bad request",
	"The session could not be opened; the server's log says why.")

// newUnavailable refuses a request that can succeed a second later.
func newUnavailable(cure string) *protocolError {
	return newCoded(http.StatusServiceUnavailable, "unavailable", cure)
}

// newCoded refuses a request for a reason that a Node server has no words for,
// with the gateway's own code.
func newCoded(status int, code, cure string) *protocolError {
	e := newProtocolError(status, 3, "Bad request", cure)
	e.Error.Code = code
	return e
}

// tooLarge refuses a body over the limit.
func tooLarge(limit int) *protocolError {
	return newCoded(http.StatusRequestEntityTooLarge, "payload_too_large",
		"The body is larger than maxPayload, "+strconv.Itoa(limit)+" bytes.")
}

// RefuseUnknownSession answers a request for a session that has ended, or that cannot
// be reached. Stock clients reconnect.
func RefuseUnknownSession(w http.ResponseWriter) { errUnknownSession.write(w) }

// RefuseBusy answers a request that can succeed a second later.
func RefuseBusy(w http.ResponseWriter) { errBusy.write(w) }

func (e *protocolError) write(w http.ResponseWriter) {
	body, err := json.Marshal(e)
	if err != nil {
		panic(err) // a struct of strings and an int
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if e.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(e.status)
	_, _ = w.Write(body) // a client that has gone needs no answer
}
