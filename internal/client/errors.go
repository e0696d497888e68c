package client

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// The ways in which a connection ends, besides network errors. Match them with
// errors.Is.
var (
	// ErrOrigin means that Config.Origin is not an origin.
	ErrOrigin = errors.New("no origin")

	// ErrNoWebSocket means that the answer is not HTTP/1.1, or does not accept
	// the websocket.
	ErrNoWebSocket = errors.New("the server opened no websocket")

	// ErrClosed means that the transport ended, for example because the server
	// restarts. Connect again.
	ErrClosed = errors.New("the server closed the connection")

	// ErrSilent means that the server sent nothing for longer than its
	// handshake promised. Connect again.
	ErrSilent = errors.New("the server no longer sends heartbeats")

	// ErrDisconnected is a DISCONNECT: the server wants this client to stay
	// away, because its credentials are no longer valid.
	ErrDisconnected = errors.New("the server disconnected this client")

	// ErrProtocol means that the server sent something that no gateway sends.
	ErrProtocol = errors.New("the server sent something that is not a message of this gateway")

	// ErrTooLarge means that the server sent more than Config.MaxMessage at a
	// time.
	ErrTooLarge = errors.New("the server sent more than this client accepts at once")
)

// A Refusal is the server's refusal of a connection or a subscription.
type Refusal struct {
	Channel string // the refused channel; empty if the connection was refused
	Code    string // see the table in docs/publish.md; can be empty
	Message string // for people
}

func (r *Refusal) Error() string { return r.Message }

// A StatusError is an HTTP answer to the websocket request.
type StatusError struct {
	Status     int
	Message    string        // from the gateway; empty if something else answered
	Location   string        // target of a redirect
	RetryAfter time.Duration // when to retry; 0 if unspecified
}

func (e *StatusError) Error() string {
	text := strconv.Itoa(e.Status) + " " + http.StatusText(e.Status)
	switch {
	case e.Message != "":
		return fmt.Sprintf("the server answers %s: %s", text, e.Message)
	case e.Location != "":
		return fmt.Sprintf("the server answers %s, a redirect to %s", text, e.Location)
	}
	return "the server answers " + text
}

// maxAnswer bounds how much is read of the body of an answer that opens no
// websocket.
const maxAnswer = 64 << 10

// newStatusError reads an answer that opened no websocket. If it cannot read
// the answer, the error has only the status.
func newStatusError(status int, response io.Reader) *StatusError {
	e := &StatusError{Status: status}
	answer, err := http.ReadResponse(bufio.NewReader(response), nil)
	if err != nil {
		return e
	}
	defer answer.Body.Close()
	e.Location = answer.Header.Get("Location")
	e.RetryAfter = retryAfter(answer.Header.Get("Retry-After"), time.Now())
	var body struct{ Error struct{ Message string } }
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer)) // a truncated body is not JSON
	if json.Unmarshal(text, &body) == nil {
		e.Message = body.Error.Message
	}
	return e
}

// maxRetryAfter bounds the delay that a server can ask for. A gateway asks for
// more only with a long connect_rate, where retrying too early costs one
// refusal; a listener should not miss a day's events because a proxy once asked
// for that.
const maxRetryAfter = 5 * time.Minute

// retryAfter parses seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	var delay time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		delay = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		delay = date.Sub(now)
	}
	return min(max(delay, 0), maxRetryAfter)
}
