package engineio

import (
	"encoding/base64"

	"github.com/gobwas/ws"
)

// The types of an Engine.IO packet, its first byte as text.
//
// https://socket.io/docs/v4/engine-io-protocol/#packet-types
const (
	typeOpen    = '0'
	typeClose   = '1'
	typePing    = '2'
	typePong    = '3'
	typeMessage = '4'
	typeUpgrade = '5'
	typeNoop    = '6'
)

// typeBinary precedes a binary message, in base64, in a polling payload.
const typeBinary = 'b'

// separator stands between the packets of one polling payload.
const separator = 0x1e

// A Packet is one message or control packet on its way to clients. It is
// encoded once, as the websocket frame that carries it, never changes, and may
// be sent to any number of sessions.
type Packet struct {
	frame  []byte // header and payload; a server's frames have no mask
	header int    // length of the frame's header
	binary bool
}

// TextPacket encodes a text message whose payload is the parts joined.
func TextPacket(parts ...[]byte) *Packet {
	return encode(ws.OpText, typeMessage, parts)
}

// BinaryPacket encodes a binary message. The data is copied.
func BinaryPacket(data []byte) *Packet {
	return encode(ws.OpBinary, 0, [][]byte{data})
}

// encode builds the frame: a text packet begins with its type, a binary one is
// bare.
func encode(op ws.OpCode, packetType byte, parts [][]byte) *Packet {
	length := 0
	if op == ws.OpText {
		length = 1
	}
	for _, part := range parts {
		length += len(part)
	}
	frame := frameHeader(make([]byte, 0, maxHeader+length), op, length)
	p := &Packet{header: len(frame), binary: op == ws.OpBinary}
	if op == ws.OpText {
		frame = append(frame, packetType)
	}
	for _, part := range parts {
		frame = append(frame, part...)
	}
	p.frame = frame
	return p
}

// maxHeader is the longest header of a frame without a mask.
const maxHeader = 10

// frameHeader appends the header of one whole, unmasked frame (RFC 6455,
// section 5.2).
func frameHeader(b []byte, op ws.OpCode, length int) []byte {
	b = append(b, 0x80|byte(op))
	switch {
	case length < 126:
		return append(b, byte(length))
	case length < 1<<16:
		return append(b, 126, byte(length>>8), byte(length))
	default:
		n := uint64(length)
		return append(b, 127, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32),
			byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
}

// control encodes a packet that is no message.
func control(packetType byte, payload ...byte) *Packet {
	return encode(ws.OpText, packetType, [][]byte{payload})
}

// minSize is about what a packet takes beside its bytes. Without it a queue of
// the smallest ones would hold twenty times its bound.
const minSize = 64

// size is what the packet counts in a queue, in bytes.
func (p *Packet) size() int { return max(len(p.frame), minSize) }

// sizes is what packets count together.
func sizes(packets []*Packet) int {
	size := 0
	for _, p := range packets {
		size += p.size()
	}
	return size
}

// appendPayload appends the packet as long-polling carries it.
func (p *Packet) appendPayload(b []byte) []byte {
	payload := p.frame[p.header:]
	if !p.binary {
		return append(b, payload...)
	}
	b = append(b, typeBinary)
	return base64.StdEncoding.AppendEncode(b, payload)
}

// Control packets that are the same for everyone.
var (
	pingPacket  = control(typePing)
	closePacket = control(typeClose) // only for polling
	noopPacket  = control(typeNoop)  // only for polling
	probeAnswer = control(typePong, []byte("probe")...)
)
