package socketio

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/zishang520/socket.io/parsers/socket/v3/parser"
	"github.com/zishang520/socket.io/v3/pkg/types"
)

// maxAttachmentBytes bounds the total size of one packet's attachments, because
// an event that is read keeps them until the last has arrived.
const maxAttachmentBytes = 1 << 20

var (
	errAttachmentMissing  = errors.New("text in place of an attachment")
	errAttachmentUnasked  = errors.New("attachment without a packet")
	errAttachmentTooLarge = errors.New("attachments too large")
)

// assembly is a packet that is waiting for its attachments.
//
// https://socket.io/docs/v4/socket-io-protocol/#packet-encoding
type assembly struct {
	packet      packet
	attachments [][]byte // nil if they are only counted
	count, size int

	// refused is the event, if the application refuses to read it. It is nil
	// for an acknowledgement, which is not read either.
	refused *Event
}

// newAssembly waits for the attachments of an event that will be read. It
// copies the packet, because its text is only borrowed.
func newAssembly(p packet) *assembly {
	p.payload = bytes.Clone(p.payload)
	return &assembly{packet: p, attachments: [][]byte{}}
}

// newCount waits for attachments without keeping them.
func newCount(p packet, refused *Event) *assembly {
	p.payload = nil
	return &assembly{packet: p, refused: refused}
}

// add takes an attachment, copies it if it is kept, and reports whether it was
// the last.
func (a *assembly) add(data []byte) (complete bool, err error) {
	if a.size += len(data); a.size > maxAttachmentBytes {
		return false, errAttachmentTooLarge
	}
	if a.attachments != nil {
		a.attachments = append(a.attachments, append([]byte{}, data...))
	}
	a.count++
	return a.count == a.packet.attachments, nil
}

// reassemble decodes an array and replaces placeholders with their attachments.
func reassemble(array json.RawMessage, attachments [][]byte) ([]any, error) {
	var values []any
	if err := json.Unmarshal(array, &values); err != nil {
		return nil, err
	}
	buffers := make([]types.BufferInterface, len(attachments))
	for i, data := range attachments {
		buffers[i] = types.NewBytesBuffer(data)
	}
	p, err := parser.ReconstructPacket(&parser.Packet{Data: values}, buffers)
	if err != nil {
		return nil, err
	}
	values, _ = p.Data.([]any) // it is still an array
	return values, nil
}
