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

// The ways in which a connection ends, beside errors of the network. They are
// matched with errors.Is.
var (
	// ErrOrigin is a Config.Origin that is none.
	ErrOrigin = errors.New("no origin")

	// ErrNoWebSocket is an answer that is not even HTTP/1.1, or no consent to
	// a websocket.
	ErrNoWebSocket = errors.New("the server opened no websocket")

	// ErrClosed is the end of the transport, as when the server restarts.
	// Connect anew.
	ErrClosed = errors.New("the server closed the connection")

	// ErrSilent is a server that nothing was heard from for the time that its
	// handshake promised. Connect anew.
	ErrSilent = errors.New("the server no longer sends heartbeats")

	// ErrDisconnected is a DISCONNECT: the server wants this client to stay
	// away, as the credentials are no longer good.
	ErrDisconnected = errors.New("the server disconnected this client")

	// ErrProtocol is something that no gateway sends.
	ErrProtocol = errors.New("the server sent something that is not a message of this gateway")

	// ErrTooLarge is more than Config.MaxMessage at a time.
	ErrTooLarge = errors.New("the server sent more than this client accepts at once")
)

// A Refusal is the server's no to a connection or to a subscription.
type Refusal struct {
	Channel string // that was refused; empty if it was the connection
	Code    string // as in the table of docs/publish.md; may be empty
	Message string // for people
}

func (r *Refusal) Error() string { return r.Message }

// A StatusError is an answer over HTTP to the opening of the websocket.
type StatusError struct {
	Status     int
	Message    string        // what the gateway says about it; empty if it was not the gateway
	Location   string        // where a redirect leads
	RetryAfter time.Duration // when to come again; 0 if it was not said
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

// maxAnswer bounds the body that is read of an answer which opens no websocket.
const maxAnswer = 64 << 10

// newStatusError reads what answered instead of a websocket. Of an answer that
// cannot be read there is the status.
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
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer)) // half a body is no JSON
	if json.Unmarshal(text, &body) == nil {
		e.Message = body.Error.Message
	}
	return e
}

// maxRetryAfter bounds what a server may ask for. A gateway asks for more only
// with a long connect_rate, where coming too early costs one refusal; whoever
// listens is not to miss a day's events because a proxy asked for that once.
const maxRetryAfter = 5 * time.Minute

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	var delay time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		delay = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		delay = date.Sub(now)
	}
	return min(max(delay, 0), maxRetryAfter)
}
