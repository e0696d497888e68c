package hub

import (
	"encoding/json"
	"sync"
)

// Message is one accepted publish.
type Message struct {
	App     string
	Channel string
	Event   string

	// Data is JSON, exactly as it was sent, or nil if there was none.
	Data json.RawMessage

	// Except is the ID of a subscriber that does not get the message, or "".
	Except string

	// NoHistory means that the message is delivered and numbered, but not kept:
	// recovery and rewind do not include it.
	NoHistory bool

	// Keep says how long the channel's history keeps the message.
	Keep Keep

	// Position is the message's place in its app. The broker sets it.
	Position

	// Subscribers is the number of subscribers, as far as the broker knows when
	// it accepts the message. The broker sets it.
	Subscribers int

	id string // see ID

	// stream is the app's *stream[P] in the publisher's hub, and channel the
	// *channel[P] that it found, or nil if there was no record of it.
	stream, channel any
}

// ID returns the message's ID once it has a Position.
func (m *Message) ID() string {
	if m.id == "" {
		m.id = m.Position.ID()
	}
	return m.id
}

// A Subscriber receives the messages of its channels as a payload P.
type Subscriber[P any] interface {
	// ID is the value that Message.Except refers to. It does not change.
	ID() string

	// Queue accepts one delivery of a message, and returns the Flusher that now
	// waits for a Flush, or nil. It must neither block nor call the hub,
	// because the channel waits for it.
	Queue(payload P) Flusher
}

// A Flusher sends what Queue has accepted.
type Flusher interface {
	// Flush is called with no lock held, but it must not block, because others
	// wait for it. begun counts the work that Flush leaves to another
	// goroutine, until that goroutine has begun.
	Flush(begun *sync.WaitGroup)
}
