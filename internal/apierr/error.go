// Package apierr has the errors that users see, with their codes.
package apierr

import (
	"errors"
	"net/http"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// An Error is an error as users see it: a code for programs, and a message that
// tells a person the cure. It answers HTTP requests through Write; marshaled to
// JSON it is the {"code","message"} of a refused socket or subscription.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`

	// Docs is where the site's documentation page explains the code, absent
	// where it has none.
	Docs string `json:"docs,omitempty"`

	// Allow lists the methods of a 405.
	Allow string `json:"-"`

	// RetryAfter is when to try again, sent in whole seconds, rounded up: a
	// client that waits that long must not be refused for having come early.
	RetryAfter time.Duration `json:"-"`
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Write answers a request with the error.
func (e *Error) Write(w http.ResponseWriter) {
	e.SetHeaders(w.Header())
	respond.JSON(w, e.Status, struct {
		Error *Error `json:"error"`
	}{e})
}

// SetHeaders sets the headers that belong to the status.
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

// As returns err as users may see it. An error that is not an [Error] is a fault
// of ours: its text stays in the log, and users are asked to try again.
func As(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return Unavailable("The server could not handle this. Try again; its log has the reason.", time.Second)
}
