package socketio

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// A Broadcast is an event for any number of sockets, in two forms, each encoded
// once. Its methods must not be called concurrently.
type Broadcast struct {
	plain      engineio.Packet
	identified *engineio.Packet // nil until needed
	id         string
}

// NewBroadcast creates a broadcast as EventPacket does, of a message with an ID.
func NewBroadcast(event string, data json.RawMessage, id string) *Broadcast {
	b := &Broadcast{id: id}
	setEvent(&b.plain, event, data)
	return b
}

// Plain returns [event, data], or [event] without data.
func (b *Broadcast) Plain() *engineio.Packet { return &b.plain }

// Identified returns [event, data, id], with null if there is no data. A stock
// client remembers the ID, as the last string of an event, and sends it when it
// comes back. Without an ID it ends in null if the data is a string, which the
// client would take for one.
func (b *Broadcast) Identified() *engineio.Packet {
	text := b.Text()
	isText := bytes.HasSuffix(text, []byte(`"]`)) && hasData(text)
	if b.id == "" && !isText {
		return &b.plain
	}
	if b.identified == nil {
		var buffer [64]byte
		tail := buffer[:0]
		switch {
		case b.id == "":
			tail = append(tail, ",null]"...)
		case !hasData(text):
			tail = append(tail, ",null"...)
			fallthrough
		default:
			tail = append(append(append(tail, `,"`...), b.id...), `"]`...)
		}
		b.identified = engineio.TextPacket(text[:len(text)-1], tail)
	}
	return b.identified
}

// hasData reports whether an event's text has more than its name.
func hasData(text []byte) bool {
	for i := len(`2["`); i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i+1 < len(text) && text[i+1] == ','
		}
	}
	return false
}

// Text returns the plain form as text.
func (b *Broadcast) Text() []byte { return b.plain.Text() }

// ParseText returns the event and the data, or nil, of a text that Text has returned.
func ParseText(text []byte) (event string, data json.RawMessage) {
	var parts []json.RawMessage
	if json.Unmarshal(text[1:], &parts) != nil || len(parts) == 0 || json.Unmarshal(parts[0], &event) != nil {
		return "", nil
	}
	if len(parts) > 1 {
		data = parts[1]
	}
	return event, data
}

var errBroadcast = errors.New("this text is not of a broadcast")

// ParseBroadcast makes a broadcast of its text, which it copies.
func ParseBroadcast(text []byte, id string) (*Broadcast, error) {
	if len(text) < len(`2[""]`) || string(text[:3]) != `2["` || text[len(text)-1] != ']' {
		return nil, errBroadcast
	}
	b := &Broadcast{id: id}
	b.plain.SetText(text)
	return b, nil
}
