// Package apierr defines the errors that users see, with their codes.
package apierr

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// An Error is an error for users: a code for programs, and a message that tells
// people how to fix it. Write sends it as an HTTP response; its JSON form is the
// {"code","message"} of a refused socket or subscription.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`

	// Index is the position, in "channels" or "messages" of a publish of several,
	// of the one that is wrong. It is nil for other errors.
	Index *int `json:"index,omitempty"`

	// Docs is the URL of the code's explanation on the site's documentation page.
	// It is absent if the site has no such page.
	Docs string `json:"docs,omitempty"`

	// Allow lists the allowed methods for a 405.
	Allow string `json:"-"`

	// RetryAfter is how long to wait before a retry. It is sent in whole seconds,
	// rounded up: a client that waits that long must not be refused as too early.
	RetryAfter time.Duration `json:"-"`
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// At returns the error as one of the i-th element of a list.
func (e *Error) At(list string, i int) *Error {
	at := *e
	at.Index = &i
	at.Message = fmt.Sprintf("%s[%d]: %s", list, i, e.Message)
	return &at
}

// Write responds to a request with the error.
func (e *Error) Write(w http.ResponseWriter) {
	e.SetHeaders(w.Header())
	respond.JSON(w, e.Status, struct {
		Error *Error `json:"error"`
	}{e})
}

// SetHeaders sets the headers that the status requires.
func (e *Error) SetHeaders(h http.Header) {
	if e.Status == http.StatusUnauthorized {
		h.Set("Www-Authenticate", "Bearer")
	}
	if e.Allow != "" {
		h.Set("Allow", e.Allow)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", text.WholeSeconds(e.RetryAfter))
	}
}

// As returns err in a form for users. An error that is not an [Error] is a fault of
// the server: its text stays in the log, and users are asked to retry.
func As(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return Unavailable("The server could not handle this. Try again; its log has the reason.", time.Second)
}
