package redis

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// An envelope is a message as it is in streams and in pub/sub: the version, what
// publish.lua adds, and a body.
//
//	\x01 <epoch> SP <offset> SP <offset of the channel's message before> SP <time> LF <body>
//
// A later version may have another body, and has another first byte then. The rest up to
// the body remains, so that machines which cannot read the body know what they miss.
type envelope struct {
	hub.Position

	// foreign is set if another version has written the body.
	foreign bool

	// before is the offset of the message before it in its channel and in its
	// history, or 0 if there is none.
	before uint64

	time int64 // of Redis, when it was published, in milliseconds

	body string
}

const (
	envelopeVersion = "\x01"

	// maxEnvelopeVersion is above the versions that there will ever be, and below text.
	maxEnvelopeVersion = 0x1f
)

var errEnvelope = errors.New("a message has another format than this version's; all machines need the same version of the gateway")

// readHeader reads an envelope up to its body.
func readHeader(text string) (e envelope, err error) {
	head, body, found := strings.Cut(text, "\n")
	if !found || head == "" || head[0] == 0 || head[0] > maxEnvelopeVersion {
		return e, errEnvelope
	}
	parts := strings.Split(head[1:], " ")
	if len(parts) != 4 {
		return e, errEnvelope
	}
	e.foreign = head[:1] != envelopeVersion
	e.Epoch, e.body = parts[0], body
	var errs [3]error
	e.Offset, errs[0] = strconv.ParseUint(parts[1], 10, 64)
	e.before, errs[1] = strconv.ParseUint(parts[2], 10, 64)
	e.time, errs[2] = strconv.ParseInt(parts[3], 10, 64)
	if errors.Join(errs[:]...) != nil || e.Offset == 0 || e.Epoch == "" {
		return e, errEnvelope
	}
	return e, nil
}

// Bits of a body's first byte. A machine cannot read a body with others.
const (
	bodyNoHistory = 1 << iota
	bodyData
	bodyUnknown // and all above it
)

// encodeBody returns the parts of a message that every machine needs.
func encodeBody(m *hub.Message) string {
	b := make([]byte, 1, len(m.Event)+len(m.Except)+len(m.Data)+32)
	if m.NoHistory {
		b[0] |= bodyNoHistory
	}
	if m.Data != nil {
		b[0] |= bodyData
	}
	for _, text := range []string{m.Event, m.Except} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	b = binary.AppendUvarint(b, uint64(max(0, m.Keep.Messages)))
	b = binary.AppendUvarint(b, uint64(max(0, m.Keep.Age)))
	return string(append(b, m.Data...))
}

// message returns the message in an envelope.
func (e *envelope) message(app, channel string) (*hub.Message, error) {
	m := &hub.Message{App: app, Channel: channel, Position: e.Position}
	if e.foreign || e.body == "" || e.body[0] >= bodyUnknown {
		return nil, errEnvelope
	}
	rest := []byte(e.body)
	flags := rest[0]
	rest = rest[1:]
	number := func() (uint64, bool) {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			return 0, false
		}
		rest = rest[size:]
		return n, true
	}
	for _, text := range []*string{&m.Event, &m.Except} {
		n, ok := number()
		if !ok || n > uint64(len(rest)) {
			return nil, errEnvelope
		}
		*text, rest = string(rest[:n]), rest[n:]
	}
	messages, ok1 := number()
	age, ok2 := number()
	if !ok1 || !ok2 {
		return nil, errEnvelope
	}
	m.NoHistory = flags&bodyNoHistory != 0
	m.Keep = hub.Keep{Messages: int(messages), Age: time.Duration(age)}
	if flags&bodyData != 0 {
		m.Data = rest
	}
	return m, nil
}
