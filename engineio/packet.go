package engineio

import (
	"encoding/base64"

	"github.com/gobwas/ws"
)

// The types of Engine.IO packets: the first byte, as text.
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

// typeBinary precedes a base64-encoded binary message in a polling payload.
const typeBinary = 'b'

// separator separates the packets of a polling payload.
const separator = 0x1e

// A Packet is one message or control packet for clients. It is encoded once, as
// a websocket frame, never changes, and can be sent to any number of sessions.
type Packet struct {
	frame  []byte // header and payload; a server's frames are not masked
	header uint8  // length of the frame's header
	binary bool
}

// TextPacket encodes a text message whose payload is the joined parts.
func TextPacket(parts ...[]byte) *Packet {
	return encode(ws.OpText, typeMessage, parts)
}

// SetText makes the zero packet what TextPacket returns, for a packet that is
// part of something larger.
func (p *Packet) SetText(parts ...[]byte) { p.set(ws.OpText, typeMessage, parts) }

// BinaryPacket encodes a binary message. It copies data.
func BinaryPacket(data []byte) *Packet {
	return encode(ws.OpBinary, 0, [][]byte{data})
}

func encode(op ws.OpCode, packetType byte, parts [][]byte) *Packet {
	p := new(Packet)
	p.set(op, packetType, parts)
	return p
}

// set builds the frame. A text packet begins with its type; a binary packet has
// no type.
func (p *Packet) set(op ws.OpCode, packetType byte, parts [][]byte) {
	length := 0
	if op == ws.OpText {
		length = 1
	}
	for _, part := range parts {
		length += len(part)
	}
	// No byte more: packets can be kept for long.
	frame := frameHeader(make([]byte, 0, headerLength(length)+length), op, length)
	p.header, p.binary = uint8(len(frame)), op == ws.OpBinary
	if op == ws.OpText {
		frame = append(frame, packetType)
	}
	for _, part := range parts {
		frame = append(frame, part...)
	}
	p.frame = frame
}

// headerLength returns the length of an unmasked frame's header.
func headerLength(payload int) int {
	switch {
	case payload < 126:
		return 2
	case payload < 1<<16:
		return 4
	default:
		return 10
	}
}

// frameHeader appends the header of an unfragmented, unmasked frame (RFC 6455,
// section 5.2).
func frameHeader(b []byte, op ws.OpCode, length int) []byte {
	b = append(b, 0x80|byte(op))
	switch headerLength(length) {
	case 2:
		return append(b, byte(length))
	case 4:
		return append(b, 126, byte(length>>8), byte(length))
	default:
		n := uint64(length)
		return append(b, 127, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32),
			byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
}

// control encodes a packet that is not a message.
func control(packetType byte, payload ...byte) *Packet {
	return encode(ws.OpText, packetType, [][]byte{payload})
}

// minSize is roughly a packet's overhead in memory. Without it, a queue of the
// smallest packets would hold twenty times its bound.
const minSize = 64

// Text returns the payload of a text message. It must not be changed.
func (p *Packet) Text() []byte { return p.frame[p.header+1:] }

// size returns how many bytes the packet counts for in a queue.
func (p *Packet) size() int { return max(len(p.frame), minSize) }

// sizes returns the sum of the packets' sizes.
func sizes(packets []*Packet) int {
	size := 0
	for _, p := range packets {
		size += p.size()
	}
	return size
}

// appendPayload appends the packet in the form that long-polling uses.
func (p *Packet) appendPayload(b []byte) []byte {
	payload := p.frame[p.header:]
	if !p.binary {
		return append(b, payload...)
	}
	b = append(b, typeBinary)
	return base64.StdEncoding.AppendEncode(b, payload)
}

// Control packets that all sessions share.
var (
	pingPacket  = control(typePing)
	closePacket = control(typeClose) // only for polling
	noopPacket  = control(typeNoop)  // only for polling
	probeAnswer = control(typePong, []byte("probe")...)
)
