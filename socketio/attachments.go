package socketio

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/zishang520/socket.io/parsers/socket/v3/parser"
	"github.com/zishang520/socket.io/v3/pkg/types"
)

// maxAttachmentBytes bounds the attachments of one packet together, because
// they are kept until the last has come.
const maxAttachmentBytes = 1 << 20

var (
	errAttachmentMissing  = errors.New("text in place of an attachment")
	errAttachmentUnasked  = errors.New("attachment without a packet")
	errAttachmentTooLarge = errors.New("attachments too large")
)

// assembly is a packet that waits for its attachments.
//
// https://socket.io/docs/v4/socket-io-protocol/#packet-encoding
type assembly struct {
	packet      packet
	attachments [][]byte
	size        int
}

// newAssembly copies the packet, whose text is only lent.
func newAssembly(p packet) *assembly {
	p.payload = bytes.Clone(p.payload)
	return &assembly{packet: p}
}

// add copies an attachment, and says whether it was the last.
func (a *assembly) add(data []byte) (complete bool, err error) {
	if a.size += len(data); a.size > maxAttachmentBytes {
		return false, errAttachmentTooLarge
	}
	a.attachments = append(a.attachments, append([]byte{}, data...))
	return len(a.attachments) == a.packet.attachments, nil
}

// reassemble decodes an array and puts attachments in the place of their
// placeholders.
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
	values, _ = p.Data.([]any) // an array stays one
	return values, nil
}
