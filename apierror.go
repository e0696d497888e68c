package realtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// apiError is a refusal as users see it: a code for programs, a message that
// tells a person the cure. It answers HTTP requests through write; marshalled
// to JSON it is the {"code","message"} of a refused socket or subscription.
type apiError struct {
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
func (e *apiError) Error() string { return e.Code + ": " + e.Message }

// write answers the request with the error and names its code in the access
// log, where a 401 alone would not say which of seven it was.
func (e *apiError) write(w http.ResponseWriter, r *http.Request) {
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.String("realtime_error", e.Code))
	}
	e.headers(w.Header())
	writeJSON(w, e.Status, struct {
		Error *apiError `json:"error"`
	}{e})
}

// headers sets those that belong to the status.
func (e *apiError) headers(h http.Header) {
	if e.Status == http.StatusUnauthorized {
		h.Set("Www-Authenticate", "Bearer")
	}
	if e.Allow != "" {
		h.Set("Allow", e.Allow)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", wholeSeconds(e.RetryAfter))
	}
}

// asAPIError is err as users may see it. What is not an apiError is a fault
// of ours: its text stays in the log, and users are asked to try again.
func asAPIError(err error) *apiError {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e
	}
	return errUnavailable("The server could not handle this. Try again; its log has the reason.", time.Second)
}

// The table of codes. One constructor a code; what differs is an argument.

func errInvalidJSON(format string, a ...any) *apiError {
	return newAPIError(http.StatusBadRequest, "invalid_json", format, a...)
}

func errInvalidRequest(format string, a ...any) *apiError {
	return newAPIError(http.StatusBadRequest, "invalid_request", format, a...)
}

// errMissingAppID says where the id belongs; inQuery names the query
// parameter that it was found in, if it was.
func errMissingAppID(kind keystore.Kind, inQuery string) *apiError {
	where := "Send the app's id in the X-App-Id header."
	if kind == keystore.Subscribe {
		where = "Send the app's id in the handshake's auth: io(url, { auth: { appId, subscribeKey } })."
	}
	return newAPIError(http.StatusUnauthorized, "missing_app_id", "%s%s", where, notInQuery(inQuery))
}

// errMissingKey is errMissingAppID for the key.
func errMissingKey(kind keystore.Kind, inQuery string) *apiError {
	where := "Send the app's publish key in the Authorization header: Bearer pk_live_…"
	if kind == keystore.Subscribe {
		where = "Send the app's subscribe key in the handshake's auth: io(url, { auth: { appId, subscribeKey } })."
	}
	return newAPIError(http.StatusUnauthorized, "missing_key", "%s%s", where, notInQuery(inQuery))
}

func errWrongScheme(format string, a ...any) *apiError {
	return newAPIError(http.StatusUnauthorized, "missing_key", format, a...)
}

// errKeyAsAppID is for a key in place of the app's id.
func errKeyAsAppID(kind keystore.Kind, sent string) *apiError {
	is := "a subscribe key"
	if strings.HasPrefix(sent, keystore.Publish.Prefix()) {
		is = "a publish key"
	}
	format := "X-App-Id is %s. Send the app's id there (app_…), and its publish key in the Authorization header: Bearer pk_live_…"
	if kind == keystore.Subscribe {
		format = "appId is %s. Send the app's id there (app_…), and its subscribe key as subscribeKey: io(url, { auth: { appId, subscribeKey } })."
	}
	return newAPIError(http.StatusUnauthorized, "unknown_app", format, is)
}

func errUnknownApp(id string) *apiError {
	return newAPIError(http.StatusUnauthorized, "unknown_app",
		"There is no app %s here. Compare the App ID with the portal's or with `caddy realtime app list`.", quote(id))
}

func errInvalidKey(kind keystore.Kind) *apiError {
	return newAPIError(http.StatusUnauthorized, "invalid_key",
		"This is not a key of this app. Check that the app's %s key was copied whole and belongs to this App ID.", kind)
}

// errWrongKeyKind is for a key of the app that is not of the kind wanted.
func errWrongKeyKind(want keystore.Kind) *apiError {
	message := "This is a subscribe key. POST /publish takes the app's publish key (pk_live_…)."
	if want == keystore.Subscribe {
		message = "This is a publish key. Socket.IO takes the app's subscribe key (sub_live_…)."
	}
	return newAPIError(http.StatusUnauthorized, "wrong_key_kind", "%s", message)
}

func errKeyExpired(kind keystore.Kind) *apiError {
	return newAPIError(http.StatusUnauthorized, "key_expired",
		"This %s key has expired. Use the key that it was rotated to, or make one: caddy realtime key add.", kind)
}

func errKeyRevoked(kind keystore.Kind) *apiError {
	return newAPIError(http.StatusUnauthorized, "key_revoked",
		"This %s key was revoked. Use another key of the app, or make one: caddy realtime key add.", kind)
}

func errAppDisabled() *apiError {
	return newAPIError(http.StatusForbidden, "app_disabled",
		"This app is disabled. Enable it in the portal, or PATCH it through the admin API.")
}

func errOriginNotAllowed(format string, a ...any) *apiError {
	return newAPIError(http.StatusForbidden, "origin_not_allowed", format, a...)
}

func errNotFound(format string, a ...any) *apiError {
	return newAPIError(http.StatusNotFound, "not_found", format, a...)
}

func errMethodNotAllowed(method, allow string) *apiError {
	e := newAPIError(http.StatusMethodNotAllowed, "method_not_allowed",
		"%s is not for this path. It takes: %s.", quote(method), allow)
	e.Allow = allow
	return e
}

func errPreconditionFailed() *apiError {
	return newAPIError(http.StatusPreconditionFailed, "precondition_failed",
		"It was changed meanwhile: its ETag is not in If-Match. Read it again, and change that.")
}

// errOtherSpelling is for a path that is one of ours, written otherwise.
func errOtherSpelling(asked, right string) *apiError {
	return newAPIError(http.StatusNotFound, "not_found", "This is %s. Use %s, written exactly so.", quote(asked), right)
}

// errPayloadTooLarge takes the size as text, as only a declared one is known.
func errPayloadTooLarge(limit int64, size string) *apiError {
	return newAPIError(http.StatusRequestEntityTooLarge, "payload_too_large",
		"The body is %s bytes; the limit is %d. Send less, or raise max_body, the app's or that in the Caddyfile.", size, limit)
}

func errUnsupportedMediaType(format string, a ...any) *apiError {
	return newAPIError(http.StatusUnsupportedMediaType, "unsupported_media_type", format, a...)
}

func errInvalidChannel(format string, a ...any) *apiError {
	return newAPIError(http.StatusUnprocessableEntity, "invalid_channel", format, a...)
}

func errInvalidEvent(format string, a ...any) *apiError {
	return newAPIError(http.StatusUnprocessableEntity, "invalid_event", format, a...)
}

func errReservedEvent(event string) *apiError {
	return newAPIError(http.StatusUnprocessableEntity, "reserved_event",
		"The event name %s is reserved by Socket.IO or by this server: clients would take it for something else. Use another, such as order.updated.",
		quote(event))
}

// errNotAllowed is for a socket; it has no status.
func errNotAllowed() *apiError {
	return newAPIError(0, "not_allowed",
		"A client cannot publish. Send the event to your backend, which publishes it with POST /publish.")
}

// errTooManyConnections is for a socket; it has no status.
func errTooManyConnections(limit int) *apiError {
	return newAPIError(0, "too_many_connections",
		"The app has %d connections, its limit. Close some, or raise the app's max_connections.", limit)
}

// errCrowdedAddress is for a socket; it has no status.
func errCrowdedAddress(limit int) *apiError {
	return newAPIError(0, "too_many_connections",
		"Your address has %d connections, the limit. Close some, or raise max_connections_per_ip in the Caddyfile.", limit)
}

// errTooManyChannels is for a socket; it has no status.
func errTooManyChannels(limit int) *apiError {
	return newAPIError(0, "too_many_channels",
		"This socket is in %d channels, the limit. Unsubscribe from one first, or raise max_channels, the app's or that in the Caddyfile.", limit)
}

func errTooEarly() *apiError {
	return newAPIError(http.StatusTooEarly, "too_early",
		"This came in TLS early data (0-RTT), which can be replayed. Send it again after the handshake, as RFC 8470 says; or set allow_0rtt to false on the server.")
}

func errRateLimited(limit int, window, retryAfter time.Duration) *apiError {
	e := newAPIError(http.StatusTooManyRequests, "rate_limited",
		"This app has published %d times within %s, its limit. Try again in %s s, or raise the app's limit or rate_limit in the Caddyfile.",
		limit, shortDuration(window), wholeSeconds(retryAfter))
	e.RetryAfter = max(retryAfter, time.Second)
	return e
}

func errConnectRate(limit int, window, retryAfter time.Duration) *apiError {
	e := newAPIError(http.StatusTooManyRequests, "rate_limited",
		"Your address has opened %d connections within %s, the limit. Try again in %s s, or raise connect_rate in the Caddyfile.",
		limit, shortDuration(window), wholeSeconds(retryAfter))
	e.RetryAfter = max(retryAfter, time.Second)
	return e
}

// errMessageRate is for a socket; it has no status.
func errMessageRate(limit int, retryAfter time.Duration) *apiError {
	return newAPIError(0, "rate_limited",
		"This socket has sent more than %d packets, the limit; nothing was done. Try again in %s s, and send fewer, or raise message_rate in the Caddyfile.",
		limit, wholeSeconds(retryAfter))
}

// errFull is for a server that has all the connections that it may have.
func errFull() *apiError {
	return errUnavailable("The server has as many connections as it may. Try again, or raise max_connections in the Caddyfile.", time.Second)
}

// errUnavailable is for a server that starts, drains or failed.
func errUnavailable(message string, retryAfter time.Duration) *apiError {
	e := newAPIError(http.StatusServiceUnavailable, "unavailable", "%s", message)
	e.RetryAfter = max(retryAfter, time.Second)
	return e
}

func newAPIError(status int, code, format string, a ...any) *apiError {
	return &apiError{Status: status, Code: code, Message: fmt.Sprintf(format, a...)}
}

// writeJSON answers with v, which marshals. Nothing here may be cached: it
// holds secrets, or what was true for one moment.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // messages are read by people: "<" stays "<"
	_ = enc.Encode(v)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
}

// wholeSeconds rounds up, and is never 0: "now" was just refused.
func wholeSeconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}

// shortDuration is 1m where String says 1m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// quote is what a client sent, as a message or a log may repeat it: in one
// line, printable, short and without keys.
func quote(s string) string {
	const limit = 64
	s = maskKeys(s) // first: a key that is cut is still most of a key
	if len(s) > limit {
		return strconv.Quote(strings.ToValidUTF8(s[:limit], "")) + "…"
	}
	return strconv.Quote(s)
}
