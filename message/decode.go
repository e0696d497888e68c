package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// maxDepth is how deeply a body can nest, including its own object. It is the
// limit of encoding/json, which bounds what a body can cost here and in Go
// clients.
const maxDepth = 10_000

// Decode reads exactly one JSON object with the fields of a publication, or of
// several (see [Batch]), each at most once and spelled exactly. encoding/json
// would accept "Channel", duplicate and unknown fields, and would lose the digits
// and the key order of data. Every publish passes through here, so the object is
// walked in place once json.Valid has accepted it.
func Decode(body []byte) (Batch, error) {
	if err := CheckJSON(body); err != nil {
		return Batch{}, err
	}
	s := jsonscan.Scanner{B: body}
	s.Space()
	if s.B[s.I] != '{' {
		return Batch{}, apierr.InvalidRequest("The body is %s. Send %s.", jsonscan.Kind(s.B[s.I]), wantedBody)
	}
	var f fields
	if err := f.read(&s); err != nil {
		return Batch{}, err
	}
	if f.seen&(hasChannels|hasMessages) != 0 {
		several, err := f.several()
		return Batch{Several: several}, err
	}
	if err := f.whole(); err != nil {
		return Batch{}, err
	}
	return Batch{One: f.Publication}, nil
}

// fields are the fields of a body, or of a message in "messages".
type fields struct {
	Publication
	seen               fieldSet
	channels, messages []byte // JSON
}

// fieldSet has a bit for each field.
type fieldSet uint8

const (
	hasChannel fieldSet = 1 << iota
	hasEvent
	hasData
	hasExcept
	hasHistory
	hasChannels
	hasMessages
	hasUser
)

// read reads the object at the scanner. It checks the fields' types, but not their
// values, nor which of them are present.
func (f *fields) read(s *jsonscan.Scanner) error {
	for s.Next() {
		name, field := knownField(s.Value())
		if field == 0 {
			return errUnknownField(name)
		}
		if f.seen&field != 0 {
			return apierr.DuplicateField(name)
		}
		f.seen |= field
		s.Colon()
		raw := s.Value()
		var err error
		switch field {
		case hasChannel:
			f.Channel, err = stringField(name, raw)
		case hasUser:
			f.User, err = stringField(name, raw)
		case hasEvent:
			f.Event, err = stringField(name, raw)
		case hasData:
			f.Data = json.RawMessage(raw)
		case hasExcept:
			if string(raw) != "null" { // some backends send null for none
				f.Except, err = stringField(name, raw)
			}
		case hasHistory:
			f.NoHistory, err = historyField(raw)
		case hasChannels:
			f.channels = raw
		case hasMessages:
			f.messages = raw
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// whole checks that the fields are a valid publication.
func (f *fields) whole() error {
	switch {
	case f.seen&hasChannel == 0 && f.seen&hasUser == 0:
		return apierr.InvalidRequest(`"channel" is missing. Send %s.`, wantedBody)
	case f.seen&hasChannel != 0 && f.seen&hasUser != 0:
		return apierr.InvalidRequest(`"channel" and "user" are both present. Send "channel" to reach a channel's subscribers, or "user" to reach all sockets of a user.`)
	case f.seen&hasEvent == 0:
		return apierr.InvalidRequest(`"event" is missing. Send %s.`, wantedBody)
	}
	if f.seen&hasUser == 0 {
		return f.check()
	}
	if err := CheckUser(`"user"`, f.User); err != nil {
		return err
	}
	return f.checkAllButChannel()
}

const wantedBody = `one JSON object such as {"channel":"orders.42","event":"order.updated","data":{"id":42}}`

// CheckJSON returns an error that says what is wrong with a body that is not
// JSON, and where.
func CheckJSON(body []byte) error {
	if err := jsonscan.CheckUTF8(body); err != nil {
		return err
	}
	if json.Valid(body) {
		return nil
	}
	switch {
	case len(bytes.TrimLeft(body, " \t\r\n")) == 0:
		return apierr.InvalidJSON("The body is empty. Send %s.", wantedBody)
	case bytes.HasPrefix(body, []byte("\uFEFF")):
		return apierr.InvalidJSON("The body begins with a byte order mark. Send it without.")
	}
	var raw json.RawMessage
	syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(body, &raw))
	switch {
	case !ok:
		return apierr.InvalidJSON("The body is not JSON. Send %s.", wantedBody)
	case strings.Contains(syntax.Error(), "max depth"):
		return apierr.InvalidJSON("The body nests deeper than %d levels at byte %d. Send flatter data.", maxDepth, syntax.Offset)
	case strings.Contains(syntax.Error(), "after top-level value"):
		return apierr.InvalidJSON("Unexpected data follows the JSON object at byte %d. Send one object per request.", syntax.Offset)
	case strings.Contains(syntax.Error(), "unexpected end"):
		return apierr.InvalidJSON("The JSON ends early, after %d bytes: the body was cut off, or a bracket or quote is not closed.", syntax.Offset)
	}
	return apierr.InvalidJSON("The body is not JSON at byte %d: %s.", syntax.Offset, syntax)
}

// knownField returns a field's name and its bit, which is 0 for an unknown field.
// It allocates nothing for names without escapes.
func knownField(raw []byte) (string, fieldSet) {
	switch string(raw) {
	case `"channel"`:
		return "channel", hasChannel
	case `"event"`:
		return "event", hasEvent
	case `"data"`:
		return "data", hasData
	case `"except"`:
		return "except", hasExcept
	}
	switch name := jsonscan.Unquote(raw); name {
	case "channel":
		return name, hasChannel
	case "event":
		return name, hasEvent
	case "data":
		return name, hasData
	case "except":
		return name, hasExcept
	case "user":
		return name, hasUser
	case "history":
		return name, hasHistory
	case "channels":
		return name, hasChannels
	case "messages":
		return name, hasMessages
	default:
		return name, 0
	}
}

func stringField(name string, raw []byte) (string, error) {
	if raw[0] != '"' {
		return "", apierr.InvalidRequest("%q is %s. It must be a string.", name, jsonscan.Kind(raw[0]))
	}
	return jsonscan.Unquote(raw), nil
}

// historyField returns the opposite of the field's value.
func historyField(raw []byte) (bool, error) {
	switch string(raw) {
	case "true":
		return false, nil
	case "false":
		return true, nil
	}
	return false, apierr.InvalidRequest(`"history" is %s. It must be true or false.`, jsonscan.Kind(raw[0]))
}

func errUnknownField(name string) *apierr.Error {
	for _, known := range []string{"channel", "event", "data", "except", "history", "channels", "messages", "user"} {
		if strings.EqualFold(name, known) {
			return apierr.InvalidRequest("Unknown field %s. Did you mean %q? Names are case-sensitive.", text.Quote(name), known)
		}
	}
	return apierr.InvalidRequest(`Unknown field %s. A message has "channel" or "user", "event" and optionally "data", "except" and "history"; put anything else inside data. `+
		`To publish several, send "channels" or "messages".`, text.Quote(name))
}
