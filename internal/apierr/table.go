package apierr

import (
	"fmt"
	"net/http"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// The table of codes. Each code has one constructor, with arguments for what varies.

func InvalidJSON(format string, a ...any) *Error {
	return newError(http.StatusBadRequest, "invalid_json", format, a...)
}

// InvalidPosition reports an id that is of no message of the app.
func InvalidPosition() *Error {
	return newError(http.StatusUnprocessableEntity, "invalid_position",
		"since is not the id of a message of this app. Send an id from an event, a publish's answer or subscribed, unchanged.")
}

func InvalidRequest(format string, a ...any) *Error {
	return newError(http.StatusBadRequest, "invalid_request", format, a...)
}

// DuplicateField reports a field that occurs twice in an object.
func DuplicateField(name string) *Error {
	return InvalidRequest("%q is duplicated. Send it once.", name)
}

// MissingAppID says where the ID belongs. inQuery is the query parameter that
// contained it, or "".
func MissingAppID(kind keystore.Kind, inQuery string) *Error {
	where := "Send the app's id in the X-App-Id header."
	if kind == keystore.Subscribe {
		where = "Send the app's id in the handshake's auth: io(url, { auth: { appId, subscribeKey } })."
	}
	return newError(http.StatusUnauthorized, "missing_app_id", "%s%s", where, notInQuery(inQuery))
}

// MissingKey is like MissingAppID, for the key.
func MissingKey(kind keystore.Kind, inQuery string) *Error {
	where := "Send the app's publish key in the Authorization header: Bearer pk_live_…"
	if kind == keystore.Subscribe {
		where = "Send the app's subscribe key in the handshake's auth: io(url, { auth: { appId, subscribeKey } })."
	}
	return newError(http.StatusUnauthorized, "missing_key", "%s%s", where, notInQuery(inQuery))
}

func WrongScheme(format string, a ...any) *Error {
	return newError(http.StatusUnauthorized, "missing_key", format, a...)
}

// KeyAsAppID reports a key sent as the app's ID.
func KeyAsAppID(kind keystore.Kind, sent string) *Error {
	is := nameOf(keystore.KindOf(sent))
	format := "X-App-Id is %s. Send the app's id there (app_…), and its publish key in the Authorization header: Bearer pk_live_…"
	if kind == keystore.Subscribe {
		format = "appId is %s. Send the app's id there (app_…), and its subscribe key as subscribeKey: io(url, { auth: { appId, subscribeKey } })."
	}
	return newError(http.StatusUnauthorized, "unknown_app", format, is)
}

func UnknownApp(id string) *Error {
	return newError(http.StatusUnauthorized, "unknown_app",
		"No app %s exists here. Compare the App ID with the portal or with `caddy realtime app list`.", text.Quote(id))
}

func InvalidKey(kind keystore.Kind) *Error {
	return newError(http.StatusUnauthorized, "invalid_key",
		"This is not a key of this app. Check that the app's %s key was copied whole and belongs to this App ID.", kind)
}

// WrongKeyKind reports a key that is not of the required kind.
func WrongKeyKind(want, got keystore.Kind) *Error {
	takes := "POST /publish takes the app's publish key (pk_live_…)."
	if want == keystore.Subscribe {
		takes = "Socket.IO takes the app's subscribe key (sub_live_…)."
		if got == keystore.Sign {
			takes += " Sign tokens with this one on the backend, and rotate it if it was sent to browsers."
		}
	}
	return newError(http.StatusUnauthorized, "wrong_key_kind", "This is %s. %s", nameOf(got), takes)
}

// nameOf names a key of a kind, with its article.
func nameOf(kind keystore.Kind) string {
	if kind == keystore.Sign {
		return "a signing key"
	}
	return "a " + string(kind) + " key"
}

func KeyExpired(kind keystore.Kind) *Error {
	return newError(http.StatusUnauthorized, "key_expired",
		"This %s key has expired. Use the key that replaced it, or create one: caddy realtime key add.", kind)
}

func KeyRevoked(kind keystore.Kind) *Error {
	return newError(http.StatusUnauthorized, "key_revoked",
		"This %s key was revoked. Use another key of the app, or create one: caddy realtime key add.", kind)
}

func AppDisabled() *Error {
	return newError(http.StatusForbidden, "app_disabled",
		"This app is disabled. Enable it in the portal, or PATCH it through the admin API.")
}

func OriginNotAllowed(format string, a ...any) *Error {
	return newError(http.StatusForbidden, "origin_not_allowed", format, a...)
}

func NotFound(format string, a ...any) *Error {
	return newError(http.StatusNotFound, "not_found", format, a...)
}

func MethodNotAllowed(method, allow string) *Error {
	e := newError(http.StatusMethodNotAllowed, "method_not_allowed",
		"%s is not allowed on this path. Allowed: %s.", text.Quote(method), allow)
	e.Allow = allow
	return e
}

func PreconditionFailed() *Error {
	return newError(http.StatusPreconditionFailed, "precondition_failed",
		"It was changed in the meantime: its ETag is not in If-Match. Read it again, then repeat the change.")
}

// OtherSpelling reports a path that is a different spelling of a served one.
func OtherSpelling(asked, right string) *Error {
	return newError(http.StatusNotFound, "not_found", "The path is %s. Use exactly %s.", text.Quote(asked), right)
}

// PayloadTooLarge takes the size as text, because the exact size is known only if it
// was declared.
func PayloadTooLarge(limit int64, size string) *Error {
	return newError(http.StatusRequestEntityTooLarge, "payload_too_large",
		"The body is %s bytes; the limit is %d. Send less, or raise max_body for the app or in the Caddyfile.", size, limit)
}

// BatchTooLarge refuses n messages of one request whose data has size bytes together.
func BatchTooLarge(n, size, limit int) *Error {
	return newError(http.StatusRequestEntityTooLarge, "payload_too_large",
		"The %d messages of this request have %d bytes of data together, counted for each channel; the limit is %d. Send fewer channels or messages in one request, or smaller data.",
		n, size, limit)
}

func UnsupportedMediaType(format string, a ...any) *Error {
	return newError(http.StatusUnsupportedMediaType, "unsupported_media_type", format, a...)
}

func InvalidChannel(format string, a ...any) *Error {
	return newError(http.StatusUnprocessableEntity, "invalid_channel", format, a...)
}

func InvalidEvent(format string, a ...any) *Error {
	return newError(http.StatusUnprocessableEntity, "invalid_event", format, a...)
}

func ReservedEvent(event string) *Error {
	return newError(http.StatusUnprocessableEntity, "reserved_event",
		"The event name %s is reserved by Socket.IO or by this server: clients would mistake it for another. Use another name, for example order.updated.",
		text.Quote(event))
}

// NotAllowed is sent to sockets and has no status.
func NotAllowed() *Error {
	return newError(0, "not_allowed",
		"A client cannot publish. Send the event to your backend, which publishes it with POST /publish.")
}

// TooManyConnections is sent to sockets and has no status.
func TooManyConnections(limit int) *Error {
	return newError(0, "too_many_connections",
		"The app has %d connections, which is its limit. Close some, or raise the app's max_connections.", limit)
}

// CrowdedAddress is sent to sockets and has no status.
func CrowdedAddress(limit int) *Error {
	return newError(0, "too_many_connections",
		"Your address has %d connections, which is the limit. Close some, or raise max_connections_per_ip in the Caddyfile.", limit)
}

// TooManyChannels is sent to sockets and has no status.
func TooManyChannels(limit int) *Error {
	return newError(0, "too_many_channels",
		"This socket is in %d channels, which is the limit. Unsubscribe from one first, or raise max_channels for the app or in the Caddyfile.", limit)
}

func IdempotencyInProgress() *Error {
	e := newError(http.StatusConflict, "idempotency_in_progress",
		"A publish with this Idempotency-Key is in progress. Repeat the request in 1 s to get its answer.")
	e.RetryAfter = time.Second
	return e
}

func IdempotencyMismatch() *Error {
	return newError(http.StatusUnprocessableEntity, "idempotency_mismatch",
		"This Idempotency-Key was used with another body. Send a new key with each new publish, and the same key and body to repeat one.")
}

func TooEarly() *Error {
	return newError(http.StatusTooEarly, "too_early",
		"This request came in TLS early data (0-RTT), which can be replayed. Send it again after the handshake, as RFC 8470 says; or set allow_0rtt to false on the server.")
}

// RateLimited refuses n publishes of one request.
func RateLimited(n, limit int, window, retryAfter time.Duration) *Error {
	what := fmt.Sprintf("This app has published %d times within %s, which is its limit.", limit, text.ShortDuration(window))
	if n > 1 {
		what = fmt.Sprintf("With these %d messages, this app would have published more than %d times within %s, which is its limit. None was published.",
			n, limit, text.ShortDuration(window))
	}
	e := newError(http.StatusTooManyRequests, "rate_limited",
		"%s Try again in %s s, or raise the app's limit or rate_limit in the Caddyfile.", what, text.WholeSeconds(retryAfter))
	e.RetryAfter = max(retryAfter, time.Second)
	return e
}

// BatchOverLimit refuses n publishes of one request that a limit never allows. It
// is not a 429, because waiting does not help.
func BatchOverLimit(n, limit int, window time.Duration) *Error {
	return InvalidRequest("The body has %d messages, and this app may publish %d times within %s. Send fewer in one request, or raise the app's limit or rate_limit in the Caddyfile.",
		n, limit, text.ShortDuration(window))
}

func ConnectRate(limit int, window, retryAfter time.Duration) *Error {
	e := newError(http.StatusTooManyRequests, "rate_limited",
		"Your address has opened %d connections within %s, which is the limit. Try again in %s s, or raise connect_rate in the Caddyfile.",
		limit, text.ShortDuration(window), text.WholeSeconds(retryAfter))
	e.RetryAfter = max(retryAfter, time.Second)
	return e
}

// MessageRate is sent to sockets and has no status.
func MessageRate(limit int, retryAfter time.Duration) *Error {
	return newError(0, "rate_limited",
		"This socket has sent more than %d packets, which is the limit; the packet was ignored. Try again in %s s, and send fewer, or raise message_rate in the Caddyfile.",
		limit, text.WholeSeconds(retryAfter))
}

// ClientEventRate is sent to sockets and has no status.
func ClientEventRate(limit int) *Error {
	return newError(0, "rate_limited", "This socket has sent %d events within a second, which is the limit; this one was ignored. Send fewer, or publish from your backend.", limit)
}

// TooManyOfUser is sent to sockets and has no status.
func TooManyOfUser(limit int) *Error {
	return newError(0, "too_many_connections",
		"The user has %d connections, which is the app's limit. Close some, or raise the app's max_connections_per_user.", limit)
}

// NoScope reports a key that is not good for what it is used for.
func NoScope(scope keystore.Scope) *Error {
	return newError(http.StatusForbidden, "missing_scope",
		"This key has no scope %q. Use another key of the app, or create one: caddy realtime key add --scope %s.", scope, scope)
}

// Full reports that the server has reached its connection limit.
func Full() *Error {
	return Unavailable("The server has reached its connection limit. Try again, or raise max_connections in the Caddyfile.", time.Second)
}

// Unavailable reports that the server is starting, is draining, or has failed.
func Unavailable(message string, retryAfter time.Duration) *Error {
	e := newError(http.StatusServiceUnavailable, "unavailable", "%s", message)
	e.RetryAfter = max(retryAfter, time.Second)
	return e
}

func newError(status int, code, format string, a ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, a...)}
}

// notInQuery returns the end of a message about missing credentials.
func notInQuery(param string) string {
	if param == "" {
		return ""
	}
	return " The query string's " + param + " is not read: URLs end up in logs."
}
