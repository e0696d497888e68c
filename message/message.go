// Package message defines a publish, however it is sent: its fields, their
// rules, and how it is read and answered.
package message

import (
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// A Publication is one message to publish, from the body of POST /publish or its
// equivalent elsewhere. [Decode] and [New] create it and check it.
type Publication struct {
	// Channel or User says who gets it: the subscribers of a channel, or all
	// sockets of a user. The other is "".
	Channel, User string

	Event string

	// Data is JSON as it was sent, a slice of the decoded body. It is nil if
	// there is none, which is not the same as null.
	Data json.RawMessage

	// Except is the id of a socket to leave out, usually the one whose user
	// caused the event; "" for none. The id of a closed socket is not an error.
	Except string

	// NoHistory excludes the message from the channel's history: it is delivered
	// and numbered, but not kept.
	NoHistory bool

	// Received is when the body was read. If it is zero, the clock is read
	// instead.
	Received time.Time
}

// New creates a publication; data is JSON, or nil for none. The errors are of
// type *apierr.Error.
func New(channel, event string, data []byte) (Publication, error) {
	p := Publication{Channel: channel, Event: event}
	if err := p.check(); err != nil {
		return Publication{}, err
	}
	if data != nil {
		if CheckJSON(data) != nil {
			return Publication{}, ErrData()
		}
		p.Data = data
	}
	return p, nil
}

// ErrData returns the error for data, given by itself, that is not JSON.
func ErrData() error {
	return apierr.InvalidJSON(`The data is not JSON. Put text in quotes: "hello".`)
}

// maxSocketID bounds the id of a socket, in bytes. Ours have 20.
const maxSocketID = 64

// check validates everything but the data, of a publication to a channel.
func (p *Publication) check() error {
	if err := CheckChannel(p.Channel); err != nil {
		return err
	}
	return p.checkAllButChannel()
}

func (p *Publication) checkAllButChannel() error {
	if err := CheckEvent(p.Event); err != nil {
		return err
	}
	if len(p.Except) > maxSocketID || !utf8.ValidString(p.Except) {
		return apierr.InvalidRequest(`"except" is %s, which is not a socket's id. Send the client's socket.id.`, text.Quote(p.Except))
	}
	return nil
}
