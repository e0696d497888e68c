package presence

import "encoding/json"

// Most is the limit of members in a snapshot. A channel with more is large.
const Most = 1000

// The events, each with the type of its data.
const (
	EventJoined   = "realtime:joined"   // Joined
	EventLeft     = "realtime:left"     // Left
	EventPresence = "realtime:presence" // Count, or Full
)

// A Member is a user in a channel. Info is shared and must not be modified.
type Member struct {
	ID      string          `json:"id"`
	Info    json.RawMessage `json:"info,omitempty"`
	Sockets int             `json:"sockets"` // on this machine; 0 during the grace
}

// A Snapshot is the state of a channel: its first members in the order in which
// they have joined, at most Most of them, and the number of all.
type Snapshot struct {
	Count   int      `json:"count"`
	Members []Member `json:"members"`

	// Truncated means that the channel is large: Members may not be all, and
	// joined and left are not announced.
	Truncated bool `json:"truncated,omitempty"`
}

// Joined is the data of EventJoined.
type Joined struct {
	Channel string          `json:"channel"`
	ID      string          `json:"id"`
	Info    json.RawMessage `json:"info,omitempty"`
}

// Left is the data of EventLeft.
type Left struct {
	Channel string `json:"channel"`
	ID      string `json:"id"`
}

// Count is the data of EventPresence in a large channel.
type Count struct {
	Channel string `json:"channel"`
	Count   int    `json:"count"`
}

// Full is the data of EventPresence in a channel that is no longer large.
type Full struct {
	Channel string   `json:"channel"`
	Count   int      `json:"count"`
	Members []Member `json:"members"`
}
