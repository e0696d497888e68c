package socketio

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The types of Socket.IO packets: the first byte.
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

// Limits on what a client can send. They match the library's decoder, except
// for maxArgs: neither the library nor Node limits arguments.
const (
	maxAttachments = 10
	maxNamespace   = 512
	maxIDDigits    = 19 // fits into 64 bits
	maxArgs        = 1000
)

var (
	errEmpty       = errors.New("the packet is empty")
	errUTF8        = errors.New("the packet is not UTF-8")
	errType        = errors.New("no client sends packets of this type")
	errAttachments = errors.New("illegal number of attachments")
	errNamespace   = errors.New("the namespace is too long")
	errID          = errors.New("illegal acknowledgement id")
	errJSON        = errors.New("the payload is not JSON")
	errPayload     = errors.New("the payload does not fit the packet's type")
	errArgs        = errors.New("too many arguments")
)

// packet is one decoded text. Its payload points into the text that it was
// parsed from.
type packet struct {
	kind        byte
	attachments int
	namespace   string // empty for the default namespace
	id          uint64
	wantsAck    bool            // there is an id
	payload     json.RawMessage // without surrounding space, nil if there is none; checkPayload validates it
}

// parseHead decodes the text of a packet, except for the payload, which
// checkPayload checks:
//
//	<type>[<attachments>-][<namespace>,][<acknowledgement id>][<JSON>]
//
// It is stricter than the library's decoder, which accepts garbage after the
// JSON. It never decodes the JSON, so large numbers and deep nesting cost
// nothing.
//
// https://socket.io/docs/v4/socket-io-protocol/#packet-encoding
func parseHead(text []byte) (packet, error) {
	if len(text) == 0 {
		return packet{}, errEmpty
	}
	if !utf8.Valid(text) { // an answer that repeats invalid UTF-8 would be an invalid text frame
		return packet{}, errUTF8
	}
	p := packet{kind: text[0]}
	rest, err := p.parseAttachments(text[1:])
	if err != nil {
		return packet{}, err
	}
	if rest, err = p.parseNamespace(rest); err != nil {
		return packet{}, err
	}
	if rest, err = p.parseID(rest); err != nil {
		return packet{}, err
	}
	if len(rest) > 0 {
		p.payload = bytes.Trim(rest, jsonSpace)
	}
	return p, nil
}

// isEvent reports whether the packet is an event, with or without attachments.
func (p *packet) isEvent() bool { return p.kind == typeEvent || p.kind == typeBinaryEvent }

func (p *packet) parseAttachments(text []byte) ([]byte, error) {
	if p.kind != typeBinaryEvent && p.kind != typeBinaryAck {
		return text, nil
	}
	count, rest, found := bytes.Cut(text, []byte("-"))
	n, err := strconv.ParseUint(string(count), 10, 8)
	if !found || err != nil || n > maxAttachments {
		return nil, errAttachments
	}
	p.attachments = int(n)
	return rest, nil
}

func (p *packet) parseNamespace(text []byte) ([]byte, error) {
	if len(text) == 0 || text[0] != '/' {
		return text, nil
	}
	namespace, rest, _ := bytes.Cut(text, []byte(","))
	if len(namespace) > maxNamespace {
		return nil, errNamespace
	}
	if len(namespace) > 1 {
		p.namespace = string(namespace)
	}
	return rest, nil
}

func (p *packet) parseID(text []byte) ([]byte, error) {
	digits := 0
	for digits < len(text) && '0' <= text[digits] && text[digits] <= '9' {
		digits++
	}
	if digits == 0 {
		return text, nil
	}
	if digits > maxIDDigits {
		return nil, errID
	}
	id, err := strconv.ParseUint(string(text[:digits]), 10, 64)
	if err != nil {
		return nil, errID
	}
	p.id, p.wantsAck = id, true
	return text[digits:], nil
}

// checkPayload checks that the payload is one JSON value of the kind that the
// packet's type takes. Like Node, it accepts a missing payload, so an event can
// even lack a name.
//
// https://github.com/socketio/socket.io/blob/main/packages/socket.io-parser/lib/index.ts
func (p *packet) checkPayload() error {
	unread := (p.kind == typeAck || p.kind == typeBinaryAck) && len(p.payload) > shortEvent // nothing reads it
	if p.payload != nil && !unread && !json.Valid(p.payload) {
		return errJSON
	}
	switch p.kind {
	case typeConnect: // connect checks the payload, because it can answer with an error
		if string(p.payload) == "null" {
			p.payload = nil
		}
		return nil
	case typeDisconnect:
		return p.payloadBeginsWith("")
	case typeConnectError:
		return p.payloadBeginsWith(`{"`)
	case typeEvent, typeBinaryEvent, typeAck, typeBinaryAck:
		return p.payloadBeginsWith("[")
	}
	return errType
}

// payloadBeginsWith checks the first character of a payload, if there is one.
func (p *packet) payloadBeginsWith(chars string) error {
	if p.payload == nil || len(p.payload) > 0 && strings.IndexByte(chars, p.payload[0]) >= 0 {
		return nil
	}
	return errPayload
}

// jsonSpace is the whitespace that JSON allows around its tokens (RFC 8259,
// section 2).
const jsonSpace = " \t\r\n"

// splitArray returns the elements of a valid JSON array as slices of it,
// without surrounding space.
func splitArray(array json.RawMessage) ([]json.RawMessage, error) {
	var elements []json.RawMessage
	depth, begin := 0, 1
	for i := 0; i < len(array); i++ {
		switch array[i] {
		case '"':
			i = stringEnd(array, i)
		case '[', '{':
			depth++
		case ',':
			if depth == 1 {
				elements = append(elements, bytes.Trim(array[begin:i], jsonSpace))
				begin = i + 1
			}
		case ']', '}':
			depth--
		}
		if len(elements) > maxArgs {
			return nil, errArgs
		}
	}
	last := bytes.Trim(array[begin:len(array)-1], jsonSpace)
	if len(last) == 0 {
		return nil, nil // []
	}
	return append(elements, last), nil
}

// stringEnd returns the index of the closing quote of the string that begins at
// i.
func stringEnd(text []byte, i int) int {
	for i++; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i
}
