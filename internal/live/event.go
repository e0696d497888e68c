// Package live reports an app's events to its watchers. An event that nobody
// watches costs one atomic load. The number of events a second that a watcher
// receives is bounded, and events left out are counted.
package live

import (
	"encoding/json"
	"time"
)

// A Kind is the kind of an event.
type Kind string

// The kinds of events.
const (
	Connected    Kind = "connected"
	Disconnected Kind = "disconnected"
	Subscribed   Kind = "subscribed"
	Unsubscribed Kind = "unsubscribed"
	Published    Kind = "published"
	Refused      Kind = "refused" // see Code and Message
)

// An Event is something that happened in an app. Its kind determines which
// fields are set.
type Event struct {
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`

	// Socket is the id of the client's socket, ClientIP its address, and Key
	// the id of the key that it used.
	Socket   string `json:"socket,omitempty"`
	ClientIP string `json:"client_ip,omitempty"`
	Key      string `json:"key,omitempty"`

	// Reason is why a socket disconnected.
	Reason string `json:"reason,omitempty"`

	Channel string `json:"channel,omitempty"`

	// User is whom a message was published to, in place of a channel.
	User string `json:"user,omitempty"`

	// Message is the id of a published message, Size the size of its data in
	// bytes. Data longer than MaxData is left out.
	Message     string          `json:"message,omitempty"`
	Offset      uint64          `json:"offset,omitempty"`
	Event       string          `json:"event,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	Size        int             `json:"size,omitempty"`
	Subscribers int             `json:"subscribers,omitempty"`

	// Attempt is what was refused: "publish", "connect", "subscribe", "authenticate" or "emit".
	// Code and Cure are the error's code and message.
	Attempt string `json:"attempt,omitempty"`
	Code    string `json:"code,omitempty"`
	Cure    string `json:"cure,omitempty"`

	// Unauthenticated is set for events that anyone who knows the app's id can
	// cause. Watchers receive them within a separate budget.
	Unauthenticated bool `json:"-"`
}

// MaxData is the maximum size of an event's data, in bytes.
const MaxData = 4 << 10
