// Package message has what a publish is: its fields and the rules of them, whoever
// publishes, and how it is read and answered.
package message

import (
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// A Publication is what is asked to be published: the body of POST /publish, or
// what another way to publish has. [Decode] and [New] make it, and vouch for it.
type Publication struct {
	Channel string
	Event   string

	// Data is JSON as it was sent, a part of the body that was decoded; nil
	// where there is none, which is not null.
	Data json.RawMessage

	// Except is the id of a socket that is left out, usually the one whose
	// user caused the event; "" for none. One that has gone is no error.
	Except string

	// Received is when the body was read, zero if the clock is to be asked.
	Received time.Time
}

// New makes a publication; data is JSON, nil for none. The errors are of type
// *apierr.Error.
func New(channel, event string, data []byte) (Publication, error) {
	p := Publication{Channel: channel, Event: event}
	if err := p.check(); err != nil {
		return Publication{}, err
	}
	if data != nil {
		if CheckJSON(data) != nil {
			return Publication{}, apierr.InvalidJSON(`The data is not JSON. Put text in quotes: "hello".`)
		}
		p.Data = data
	}
	return p, nil
}

// maxSocketID bounds the id of a socket, in bytes. Ours have 20.
const maxSocketID = 64

// check checks all but the data.
func (p *Publication) check() error {
	if err := CheckChannel(p.Channel); err != nil {
		return err
	}
	if err := CheckEvent(p.Event); err != nil {
		return err
	}
	if len(p.Except) > maxSocketID || !utf8.ValidString(p.Except) {
		return apierr.InvalidRequest(`"except" is %s, which is not a socket's id. Send the client's socket.id.`, text.Quote(p.Except))
	}
	return nil
}
