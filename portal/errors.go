package portal

import "net/http"

// An Error documents an error code with its cause and cure.
type Error struct {
	Code string

	// Status is an HTTP status, or 0 for errors that only sockets get.
	Status int

	Cause, Cure string
}

// Errors lists the codes that publishers and subscribers can get.
func Errors() []Error {
	const socket = 0
	return []Error{
		{"missing_app_id", http.StatusUnauthorized, "No X-App-Id header, or no appId in auth", "Send it there, never in the query string"},
		{"missing_key", http.StatusUnauthorized, "No Authorization: Bearer …, or no subscribeKey in auth", "Send it there, never in the query string"},
		{"unknown_app", http.StatusUnauthorized, "No app has this id: it is mistyped, deleted, or of another server", "Compare the id and the origin"},
		{"invalid_key", http.StatusUnauthorized, "Not a key of this app: it is cut off, or belongs to another app", "Copy the whole key, and compare the app id"},
		{"wrong_key_kind", http.StatusUnauthorized, "The publish and subscribe keys are mixed up", "pk_live_… publishes, sub_live_… connects"},
		{"key_expired", http.StatusUnauthorized, "The key was rotated, or its lifetime has ended", "Use the new key"},
		{"key_revoked", http.StatusUnauthorized, "The key was revoked", "Use another key of the app"},
		{"missing_scope", http.StatusForbidden, "The key was made for something else than publishing", "Use another key, or add one with the scope publish"},
		{"app_disabled", http.StatusForbidden, "The app is disabled", "Ask the operator of this server"},
		{"origin_not_allowed", http.StatusForbidden, "The page's origin is not allowed", "Ask the operator to add it: the server's log has the line"},
		{"invalid_json", http.StatusBadRequest, "The body is not one JSON value in UTF-8", "Check quotes, commas and encoding"},
		{"invalid_request", http.StatusBadRequest, "A wrong or unknown field, a header twice or invalid, a credential in the query string", "The message names it"},
		{"not_found", http.StatusNotFound, "Nothing exists at this path", "Check the path"},
		{"method_not_allowed", http.StatusMethodNotAllowed, "The path does not allow this method", "The Allow header lists the allowed methods"},
		{"idempotency_in_progress", http.StatusConflict, "A publish with the same Idempotency-Key is in progress", "Repeat the request after Retry-After seconds to get its answer"},
		{"payload_too_large", http.StatusRequestEntityTooLarge, "What was sent is over the limit, which the message names", "Send less, for example an id to fetch"},
		{"unsupported_media_type", http.StatusUnsupportedMediaType, "The body is not sent as application/json", "Set Content-Type"},
		{"invalid_channel", http.StatusUnprocessableEntity, "A character or length that is not allowed in channel names", "1 to 200 of A-Z a-z 0-9 _ - = @ , . ; : /"},
		{"invalid_event", http.StatusUnprocessableEntity, "An empty, too long or unprintable event name", "1 to 200 printable characters"},
		{"reserved_event", http.StatusUnprocessableEntity, "A name that socket.io-client or this server uses itself", "Use another, for example order.updated"},
		{"idempotency_mismatch", http.StatusUnprocessableEntity, "The Idempotency-Key was used with another body", "Send a new key with each new publish"},
		{"too_early", http.StatusTooEarly, "The request came in TLS early data (0-RTT), which can be replayed", "Send it again after the handshake"},
		{"rate_limited", http.StatusTooManyRequests, "More publishes of the app, connections of your address or packets of the socket than the limit in its window", "Wait Retry-After seconds, which is always enough"},
		{"unavailable", http.StatusServiceUnavailable, "The server is starting or shutting down, or has too many clients or large publishes at once", "Try again after Retry-After seconds"},
		{"invalid_position", http.StatusUnprocessableEntity, "since is not the id of a message of this app", "Send an id from an event, a publish's answer or subscribed, unchanged"},
		{"token_required", socket, "The channel needs a token, and the client has none", "Get one from your backend; send it as auth.token, or with subscribe"},
		{"invalid_token", socket, "The token is not one that this app's backend signed, or not as it must be; the message says what is wrong", "Correct what the message names"},
		{"token_expired", socket, "The token's exp is over", "Get a new one; auth as a function does that at each connect"},
		{"token_revoked", socket, "The user's tokens were revoked after this one was issued", "Log in again to get a new one"},
		{"channel_forbidden", socket, "The token does not allow the channel, or nobody may subscribe to it", "Get a token for the channel from your backend"},
		{"user_mismatch", socket, "The token is for another user than the connection", "Disconnect, and connect with the new token"},
		{"too_many_channels", socket, "More channels on one socket than the limit", "Unsubscribe from one first"},
		{"too_many_connections", socket, "The app or your address has reached its limit of sockets; the message says which", "Close some, or ask the operator to raise the limit"},
		{"not_allowed", socket, "The client emitted an event", "Clients cannot publish: let your backend publish, or emit client where the channel's rule allows events of clients"},
	}
}
