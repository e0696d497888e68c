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
	plain, identified *engineio.Packet // at least one; the other if it was needed

	id     string
	noData bool
}

// NewBroadcast creates a broadcast as EventPacket does, of a message with an ID.
func NewBroadcast(event string, data json.RawMessage, id string) *Broadcast {
	return &Broadcast{plain: EventPacket(event, data), id: id, noData: data == nil}
}

// Plain returns [event, data], or [event] without data.
func (b *Broadcast) Plain() *engineio.Packet {
	if b.plain == nil {
		text := b.identified.Text()
		b.plain = engineio.TextPacket(text[:len(text)-len(b.tail(nil))], []byte{']'})
	}
	return b.plain
}

// Identified returns [event, data, id], with null if there is no data. A stock
// client remembers the ID, as the last string of an event, and sends it when it
// comes back.
func (b *Broadcast) Identified() *engineio.Packet {
	if b.identified == nil {
		var buffer [64]byte
		text := b.plain.Text()
		b.identified = engineio.TextPacket(text[:len(text)-1], b.tail(buffer[:0]))
	}
	return b.identified
}

// tail appends what follows the data, or the event if there is no data.
func (b *Broadcast) tail(to []byte) []byte {
	if b.noData {
		to = append(to, ",null"...)
	}
	return append(append(append(to, `,"`...), b.id...), `"]`...)
}

// Keep drops the form that can be made of the other, and returns the size of
// what is left in bytes.
func (b *Broadcast) Keep() int {
	if b.identified != nil {
		b.plain = nil
		return len(b.identified.Text())
	}
	return len(b.plain.Text())
}

// Marshal returns a broadcast that is kept as bytes.
func (b *Broadcast) Marshal() []byte {
	noData := byte(0)
	if b.noData {
		noData = 1
	}
	return append([]byte{noData, byte(len(b.id))}, b.Identified().Text()...)
}

var errBroadcast = errors.New("these bytes are not of a broadcast")

// UnmarshalBroadcast is the inverse of Marshal.
func UnmarshalBroadcast(data []byte) (*Broadcast, error) {
	if len(data) < 2 || len(data) < 4+int(data[1]) {
		return nil, errBroadcast
	}
	text := data[2:]
	b := &Broadcast{noData: data[0] == 1, id: string(text[len(text)-2-int(data[1]) : len(text)-2])}
	if !bytes.HasSuffix(text, b.tail(nil)) || text[0] != typeEvent {
		return nil, errBroadcast
	}
	b.identified = engineio.TextPacket(text)
	return b, nil
}
