package apierr

import (
	"net/http"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// The codes about tokens and what they allow. Clients get them on a socket.

// InvalidToken says what is wrong with a token, without repeating it.
func InvalidToken(format string, a ...any) *Error {
	return newError(http.StatusUnauthorized, "invalid_token", format, a...)
}

func TokenExpired(at time.Time) *Error {
	return newError(http.StatusUnauthorized, "token_expired",
		"The token expired at %s. Get a new one from your backend; if auth is a function, the client calls it at each connect.",
		at.UTC().Format(time.RFC3339))
}

func TokenRevoked() *Error {
	return newError(http.StatusUnauthorized, "token_revoked",
		"The user's tokens were revoked after this one was issued. Log in again to get a new one; its iat says when it was issued.")
}

// TokenRequired refuses a subscription without a token.
func TokenRequired(channel string) *Error {
	return newError(http.StatusForbidden, "token_required",
		`The channel %s needs a token. Get one from your backend, and send it as auth.token, or for this channel: emit("subscribe", channel, { token }).`,
		text.Quote(channel))
}

func ChannelForbidden(format string, a ...any) *Error {
	return newError(http.StatusForbidden, "channel_forbidden", format, a...)
}

// UserMismatch refuses a token of another user than the connection's.
func UserMismatch() *Error {
	return newError(http.StatusForbidden, "user_mismatch",
		"The token is for another user than this connection. Disconnect, and connect with the other user's token as auth.token.")
}
