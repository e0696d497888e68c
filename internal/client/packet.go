package client

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// The Engine.IO packet types, the first byte of a packet.
//
// https://socket.io/docs/v4/engine-io-protocol/#packet-types
const (
	engineOpen    = '0'
	engineClose   = '1'
	enginePing    = '2'
	enginePong    = '3'
	engineMessage = '4'
	engineNoop    = '6'
)

// The Socket.IO packet types, the first byte of an Engine.IO message.
//
// https://socket.io/docs/v4/socket-io-protocol/#exchange-protocol
const (
	typeConnect      = '0'
	typeDisconnect   = '1'
	typeEvent        = '2'
	typeAck          = '3'
	typeConnectError = '4'
	typeBinaryEvent  = '5'
	typeBinaryAck    = '6'
)

// malformed returns an ErrProtocol that says what is wrong.
func malformed(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, a...))
}

// maxHeartbeat bounds the heartbeat times in a handshake: a day.
const maxHeartbeat = 24 * time.Hour

// parseOpen parses the handshake, an OPEN packet without its type, and returns
// how long the server can be silent.
func parseOpen(text []byte) (time.Duration, error) {
	var open struct{ PingInterval, PingTimeout int64 } // in milliseconds
	if err := json.Unmarshal(text, &open); err != nil {
		return 0, malformed("the handshake is no JSON")
	}
	limit := maxHeartbeat.Milliseconds()
	if open.PingInterval <= 0 || open.PingTimeout <= 0 || open.PingInterval > limit || open.PingTimeout > limit {
		return 0, malformed("the handshake has no usable heartbeat")
	}
	return time.Duration(open.PingInterval+open.PingTimeout) * time.Millisecond, nil
}

// A packet is a Socket.IO packet on the default namespace.
type packet struct {
	kind    byte
	id      uint64 // the acknowledgement id, 0 if none
	payload []byte // JSON, a slice of the parsed text
}

// parsePacket decodes a packet:
//
//	<type>[<acknowledgement id>][<JSON>]
//
// The gateway publishes only JSON, so a binary packet is an error: if it were
// dropped silently, the event would be lost.
//
// https://socket.io/docs/v4/socket-io-protocol/#packet-encoding
func parsePacket(text []byte) (packet, error) {
	if len(text) == 0 {
		return packet{}, malformed("an empty packet")
	}
	p := packet{kind: text[0], payload: text[1:]}
	switch p.kind {
	case typeConnect, typeDisconnect, typeEvent, typeAck, typeConnectError:
	case typeBinaryEvent, typeBinaryAck:
		return packet{}, malformed("a binary packet, which this client does not read")
	default:
		return packet{}, malformed("a packet of type %q", p.kind)
	}
	digits := 0
	for digits < len(p.payload) && '0' <= p.payload[digits] && p.payload[digits] <= '9' {
		digits++
	}
	if digits > 0 {
		id, err := strconv.ParseUint(string(p.payload[:digits]), 10, 64)
		if err != nil {
			return packet{}, malformed("an acknowledgement id of %d digits", digits)
		}
		p.id, p.payload = id, p.payload[digits:]
	}
	return p, nil
}

// event decodes an EVENT.
func (p packet) event() (Event, error) {
	var args [4]json.RawMessage // an array drops any further elements
	if json.Unmarshal(p.payload, &args) != nil || args[0] == nil {
		return Event{}, malformed("an event that is no array with a name")
	}
	if args[3] != nil {
		return Event{}, malformed("an event with more than two arguments")
	}
	var name *string // null is not a name
	if json.Unmarshal(args[0], &name) != nil || name == nil {
		return Event{}, malformed("an event whose name is no text")
	}
	e := Event{Name: *name, Data: args[1]}
	if args[2] != nil {
		var err error
		if e.ID, err = eventID(args[2]); err != nil {
			return Event{}, err
		}
	}
	return e, nil
}

// refusal decodes a CONNECT_ERROR.
func (p packet) refusal() error {
	var refused struct {
		Message string
		Data    struct{ Code string }
	}
	if json.Unmarshal(p.payload, &refused) != nil || refused.Message == "" {
		return malformed("a refusal without a message")
	}
	return &Refusal{Code: refused.Data.Code, Message: refused.Message}
}

// subscribed decodes the acknowledgement of a subscribe; its error can be a *Refusal.
func (p packet) subscribed(channel string) (Standing, error) {
	var answer struct {
		Channel  string
		Complete *bool // absent where nothing was asked for
		Reason   string
		Error    *struct{ Code, Message string }
	}
	var answers [2]json.RawMessage // an array drops any further elements
	switch {
	case json.Unmarshal(p.payload, &answers) != nil || answers[0] == nil || answers[1] != nil,
		json.Unmarshal(answers[0], &answer) != nil:
		return Standing{}, malformed("an acknowledgement that is no answer to subscribe")
	case answer.Error != nil:
		return Standing{}, &Refusal{Channel: channel, Code: answer.Error.Code, Message: answer.Error.Message}
	case answer.Channel != channel:
		return Standing{}, malformed("an acknowledgement of another channel than %q", channel)
	case answer.Complete != nil && !*answer.Complete:
		return Standing{Missing: cmp.Or(answer.Reason, "no reason given")}, nil
	}
	return Standing{}, nil
}
