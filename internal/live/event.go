// Package live tells people who watch an app what happens in it. What nobody
// watches costs one atomic load; what many events a second would cost their
// watchers is bounded, and what is left out is counted.
package live

import (
	"encoding/json"
	"time"
)

// A Kind says what has happened.
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

// An Event is something that has happened in an app. Which fields are set
// depends on its kind.
type Event struct {
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`

	// Socket is the id of the client's socket, ClientIP its address, Key the
	// id of the key that let it in.
	Socket   string `json:"socket,omitempty"`
	ClientIP string `json:"client_ip,omitempty"`
	Key      string `json:"key,omitempty"`

	// Reason is why a socket has disconnected.
	Reason string `json:"reason,omitempty"`

	Channel string `json:"channel,omitempty"`

	// Message is what was published, Size its data's in bytes. Data longer than
	// MaxData is left out.
	Message     string          `json:"message,omitempty"`
	Offset      uint64          `json:"offset,omitempty"`
	Event       string          `json:"event,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	Size        int             `json:"size,omitempty"`
	Subscribers int             `json:"subscribers,omitempty"`

	// Attempt is what was refused: "publish", "connect", "subscribe" or "emit".
	// Code and Cure are the error's code and message.
	Attempt string `json:"attempt,omitempty"`
	Code    string `json:"code,omitempty"`
	Cure    string `json:"cure,omitempty"`

	// Unauthenticated is set for what anyone can cause who knows the app's id.
	// Watchers are told of such events in their own budget.
	Unauthenticated bool `json:"-"`
}

// MaxData bounds the data of an event, in bytes.
const MaxData = 4 << 10
