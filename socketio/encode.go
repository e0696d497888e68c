package socketio

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/zishang520/socket.io/parsers/socket/v3/parser"
	"github.com/zishang520/socket.io/v3/pkg/types"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// disconnectPacket is shared by all sockets.
var disconnectPacket = engineio.TextPacket([]byte{typeDisconnect})

// EventPacket encodes an event once for any number of sockets. data is one JSON
// value, which is copied unchanged; nil means no argument. The event's name
// must not be reserved: clients would close the connection.
func EventPacket(event string, data json.RawMessage) *engineio.Packet {
	p := new(engineio.Packet)
	setEvent(p, event, data)
	return p
}

// setEvent makes the zero packet what EventPacket returns.
func setEvent(p *engineio.Packet, event string, data json.RawMessage) {
	var buffer [64]byte
	head := appendString(append(buffer[:0], typeEvent, '['), event)
	if data == nil {
		p.SetText(head, []byte{']'})
		return
	}
	p.SetText(append(head, ','), data, []byte{']'})
}

// appendString appends a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := text.JSON(s)
			if err != nil {
				panic(err) // a string
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// encode makes the packets of an EVENT or ACK: its text and its attachments. It
// encodes the JSON itself, because the library's encoder sends an empty packet
// if a value cannot be encoded.
func encode(kind byte, id string, payload []any) ([]*engineio.Packet, error) {
	var head []byte
	var attachments []types.BufferInterface
	if parser.HasBinary(payload) {
		var p *parser.Packet
		p, attachments = parser.DeconstructPacket(&parser.Packet{Data: payload})
		payload, _ = p.Data.([]any) // it is still an array
		if len(attachments) > maxAttachments {
			return nil, fmt.Errorf("more than %d attachments, which clients refuse", maxAttachments)
		}
		kind += typeBinaryEvent - typeEvent // or from ACK to BINARY_ACK
		head = append(strconv.AppendInt([]byte{kind}, int64(len(attachments)), 10), '-')
	} else {
		head = []byte{kind}
	}
	encoded, err := text.JSON(payload)
	if err != nil {
		return nil, err
	}
	packets := make([]*engineio.Packet, 0, 1+len(attachments))
	packets = append(packets, engineio.TextPacket(head, []byte(id), encoded))
	for _, attachment := range attachments {
		packets = append(packets, engineio.BinaryPacket(attachment.Bytes()))
	}
	return packets, nil
}
