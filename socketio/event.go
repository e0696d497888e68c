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

// Event is an event that a client emitted. It can be kept, and acknowledged
// later from any goroutine.
type Event struct {
	// Name is the event's name. A name that is a number is kept as it was sent.
	// Name is empty for an event without arguments, and in Screen for a name
	// that is longer than any of interest.
	Name string

	// Args are the arguments, byte for byte. {"_placeholder":true,"num":n}
	// takes the place of each binary; see Values.
	Args []json.RawMessage

	// Binaries is the number of attachments that the event's header declares.
	// It is known in Screen, before they arrive.
	Binaries int

	// Attachments are the binaries, nil if the event has none.
	Attachments [][]byte

	// Refused is the error that Screener.Screen returned. A refused event has
	// its Args only if it is short, and never its Attachments.
	Refused error

	socket *Socket
	values []byte // the JSON array that Args point into
	id     uint64
	ack    bool
	acked  atomic.Bool
}

// newEvent makes the event of a complete packet, and keeps the packet's data.
func newEvent(s *Socket, p packet, attachments [][]byte) (*Event, error) {
	payload := p.payload
	if attachments == nil {
		payload = bytes.Clone(payload) // newAssembly has already copied it
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

// newHead makes an event of which only the number of attachments is known, and
// whether the client waits for an acknowledgement.
func newHead(s *Socket, p packet) *Event {
	return &Event{Binaries: p.attachments, socket: s, id: p.id, ack: p.wantsAck}
}

// eventName reads the first element of an event, which is valid JSON: a string,
// or a number, which stock clients send for socket.emit(1).
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

// Values returns the arguments in the form that Emit and Ack accept: raw JSON
// or, for an event with attachments, decoded values with a *types.BytesBuffer
// for each attachment.
func (e *Event) Values() []any {
	if e.Attachments != nil {
		values, err := reassemble(e.values, e.Attachments)
		if err != nil {
			panic(err) // newEvent has already done this
		}
		return values[1:]
	}
	values := make([]any, len(e.Args))
	for i, arg := range e.Args {
		values[i] = arg
	}
	return values
}

// Ack calls the client's callback with arguments as for Socket.Emit. It does
// nothing if the client wants no acknowledgement, already has it, or has gone.
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

// reserved reports whether an event's name has its own meaning in
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
