package socketio

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"sync/atomic"

	"go.uber.org/zap"
)

var (
	errEventName = errors.New("the payload of an event begins with its name")
	errReserved  = errors.New("the event's name is reserved")
)

// Event is what a client emitted. It may be kept and be acknowledged later,
// from any goroutine.
type Event struct {
	// Name is the event's name; that of an event whose name is a number is the
	// number as it was sent. It is empty for an event without arguments, and in
	// Screen for one whose name is longer than any that is of interest.
	Name string

	// Args are the arguments, byte for byte. An argument that is or holds a
	// binary has {"_placeholder":true,"num":n} in its place; see Values.
	Args []json.RawMessage

	// Binaries is how many attachments the event has by its header. It is known
	// in Screen, before they arrive.
	Binaries int

	// Attachments are the binaries, nil for an event without.
	Attachments [][]byte

	// Refused is what Screener.Screen returned. A refused event has its Args
	// only if it is short, and never its Attachments.
	Refused error

	socket *Socket
	values []byte // the JSON array that Args are parts of
	id     uint64
	ack    bool
	acked  atomic.Bool
}

// newEvent makes the event of a whole packet, which it keeps.
func newEvent(s *Socket, p packet, attachments [][]byte) (*Event, error) {
	payload := p.payload
	if attachments == nil {
		payload = bytes.Clone(payload) // an assembly has already copied it
	}
	e := newHead(s, p)
	if payload == nil {
		e.values = json.RawMessage("[null]")
		return e, nil
	}
	args, err := splitArray(payload)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		return nil, errEventName
	}
	if e.Name, err = eventName(args[0]); err != nil {
		return nil, err
	}
	e.Args, e.Attachments, e.values = args[1:], attachments, payload
	if attachments != nil {
		if _, err := reassemble(payload, attachments); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// newHead is an event of which nothing is known yet but its attachments' number
// and whether its client waits for an acknowledgement.
func newHead(s *Socket, p packet) *Event {
	return &Event{Binaries: p.attachments, socket: s, id: p.id, ack: p.wantsAck}
}

// eventName reads the first element of an event, valid JSON: a string, or a
// number, as stock clients send it for socket.emit(1).
func eventName(first json.RawMessage) (string, error) {
	if first[0] == '-' || '0' <= first[0] && first[0] <= '9' {
		return string(first), nil
	}
	if first[0] != '"' {
		return "", errEventName
	}
	var name string
	if err := json.Unmarshal(first, &name); err != nil {
		return "", err
	}
	if reserved(name) {
		return "", errReserved
	}
	return name, nil
}

// Values returns the arguments as Emit and Ack take them: raw JSON or, of an
// event with attachments, the decoded values with a *types.BytesBuffer for each
// attachment.
func (e *Event) Values() []any {
	if e.Attachments != nil {
		values, err := reassemble(e.values, e.Attachments)
		if err != nil {
			panic(err) // newEvent has done it before
		}
		return values[1:]
	}
	values := make([]any, len(e.Args))
	for i, arg := range e.Args {
		values[i] = arg
	}
	return values
}

// Ack calls the client's callback; arguments as for Socket.Emit. It does
// nothing if the client wants none, has had it, or has gone.
func (e *Event) Ack(args ...any) {
	if !e.ack || e.acked.Swap(true) {
		return
	}
	packets, err := encode(typeAck, strconv.FormatUint(e.id, 10), append([]any{}, args...))
	if err != nil {
		e.socket.log.Error("acknowledgement cannot be encoded", zap.String("event", e.Name), zap.Error(err))
		return
	}
	e.socket.send(packets...)
}

// reserved says whether an event's name has a meaning of its own in
// socket.io-client or Node, which is why decoders refuse it.
//
// https://github.com/socketio/socket.io/blob/main/packages/socket.io-parser/lib/index.ts
func reserved(event string) bool {
	switch event {
	case "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener":
		return true
	}
	return false
}
