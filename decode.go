package realtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// maxDepth is how deep a body may nest, its own object counted: the limit of
// encoding/json, which bounds what a body can cost here and in Go clients.
const maxDepth = 10_000

// publication is the body of POST /publish.
type publication struct {
	Channel string
	Event   string

	// Data is the raw bytes as they were sent, a part of the body that was
	// decoded; nil where the body has no data, which is not null.
	Data json.RawMessage

	// Except is the id of a socket that is left out, usually the one whose
	// user caused the event; "" for none. One that has gone is no error.
	Except string

	// received is when the body was read, zero if the clock is to be asked.
	received time.Time
}

// decodePublication reads exactly one JSON object with the fields of a
// publication, each at most once and spelled exactly. encoding/json would
// take "Channel", twice, and an unknown field; and data through it would lose
// its digits and its key order. Every publish comes through here, so the
// object is walked in place once json.Valid vouches for it.
func decodePublication(body []byte) (publication, error) {
	var p publication
	if err := checkJSON(body); err != nil {
		return p, err
	}
	s := scanner{b: body}
	s.space()
	if s.b[s.i] != '{' {
		return p, apierr.InvalidRequest("The body is %s. Send %s.", jsonKind(s.b[s.i]), wantedBody)
	}
	var hasChannel, hasEvent, hasExcept bool
	for s.next() {
		name := fieldName(s.value())
		s.colon()
		raw := s.value()
		var err error
		switch name {
		case "channel":
			p.Channel, err = stringField(name, raw, hasChannel)
			hasChannel = true
		case "event":
			p.Event, err = stringField(name, raw, hasEvent)
			hasEvent = true
		case "data":
			if p.Data != nil {
				err = errDuplicateField(name)
			}
			p.Data = json.RawMessage(raw)
		case "except":
			if hasExcept || string(raw) != "null" { // which backends have for none
				p.Except, err = stringField(name, raw, hasExcept)
			}
			hasExcept = true
		default:
			err = errUnknownField(name)
		}
		if err != nil {
			return publication{}, err
		}
	}
	switch {
	case !hasChannel:
		return publication{}, apierr.InvalidRequest(`"channel" is missing. Send %s.`, wantedBody)
	case !hasEvent:
		return publication{}, apierr.InvalidRequest(`"event" is missing. Send %s.`, wantedBody)
	}
	if err := checkChannel(p.Channel); err != nil {
		return publication{}, err
	}
	if err := checkEvent(p.Event); err != nil {
		return publication{}, err
	}
	if len(p.Except) > maxSocketID || !utf8.ValidString(p.Except) {
		return publication{}, apierr.InvalidRequest(`"except" is %s, no socket's id. Send what the client has as socket.id.`, text.Quote(p.Except))
	}
	return p, nil
}

// maxSocketID bounds the id of a socket, in bytes. Ours have 20.
const maxSocketID = 64

const wantedBody = `one JSON object such as {"channel":"orders.42","event":"order.updated","data":{"id":42}}`

// checkUTF8 looks at what encoding/json does not: inside strings.
func checkUTF8(body []byte) error {
	if utf8.Valid(body) {
		return nil
	}
	i := 0
	for {
		r, n := utf8.DecodeRune(body[i:])
		if r == utf8.RuneError && n == 1 {
			return apierr.InvalidJSON("The body is not UTF-8 at byte %d. Encode it as UTF-8.", i+1)
		}
		i += n
	}
}

// checkJSON says what is wrong with a body that is not JSON, and where.
func checkJSON(body []byte) error {
	if err := checkUTF8(body); err != nil {
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
		return apierr.InvalidJSON("Something follows the JSON object at byte %d. Send one object a request.", syntax.Offset)
	case strings.Contains(syntax.Error(), "unexpected end"):
		return apierr.InvalidJSON("The JSON ends early, after %d bytes: the body was cut off, or a bracket or quote is not closed.", syntax.Offset)
	}
	return apierr.InvalidJSON("The body is not JSON at byte %d: %s.", syntax.Offset, syntax)
}

// fieldName is unquote without an allocation for the names that are sent.
func fieldName(raw []byte) string {
	switch string(raw) {
	case `"channel"`:
		return "channel"
	case `"event"`:
		return "event"
	case `"data"`:
		return "data"
	case `"except"`:
		return "except"
	}
	return unquote(raw)
}

func stringField(name string, raw []byte, seen bool) (string, error) {
	if seen {
		return "", errDuplicateField(name)
	}
	if raw[0] != '"' {
		return "", apierr.InvalidRequest("%q is %s. It must be a string.", name, jsonKind(raw[0]))
	}
	return unquote(raw), nil
}

func errDuplicateField(name string) *apierr.Error {
	return apierr.InvalidRequest("%q is there twice. Send it once.", name)
}

func errUnknownField(name string) *apierr.Error {
	for _, known := range []string{"channel", "event", "data", "except"} {
		if strings.EqualFold(name, known) {
			return apierr.InvalidRequest("Unknown field %s. Did you mean %q? Names are case-sensitive.", text.Quote(name), known)
		}
	}
	return apierr.InvalidRequest(`Unknown field %s. The body has "channel", "event" and optionally "data" and "except"; put anything else inside data.`, text.Quote(name))
}

// scanner walks JSON that is known to be valid; it checks nothing again.
type scanner struct {
	b []byte
	i int
}

// next steps to the next field of the object, past the "{" or the "," before
// it, and reports whether there is one.
func (s *scanner) next() bool {
	s.space()
	if s.b[s.i] == '}' {
		return false
	}
	s.i++
	s.space()
	return s.b[s.i] != '}'
}

func (s *scanner) colon() {
	s.space()
	s.i++
	s.space()
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// value steps over the value that begins here and returns its bytes, which a
// later append cannot grow into what follows.
func (s *scanner) value() []byte {
	start := s.i
	switch s.b[s.i] {
	case '"':
		s.skipString()
	case '{', '[':
		s.skipNested()
	default:
		s.skipScalar()
	}
	return s.b[start:s.i:s.i]
}

func (s *scanner) skipString() {
	for s.i++; s.b[s.i] != '"'; s.i++ {
		if s.b[s.i] == '\\' {
			s.i++
		}
	}
	s.i++
}

// skipNested counts brackets instead of calling itself: depth costs no stack.
func (s *scanner) skipNested() {
	for depth := 0; ; {
		switch s.b[s.i] {
		case '"':
			s.skipString()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.i++
		if depth == 0 {
			return
		}
	}
}

func (s *scanner) skipScalar() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n', ',', '}', ']':
			return
		}
		s.i++
	}
}

// unquote is the text of a valid JSON string. Half of a surrogate pair, such
// as \ud800 alone, is no character: it becomes a byte that UTF-8 never has,
// so that it matches no field's name and passes no check of a name.
func unquote(raw []byte) string {
	raw = raw[1 : len(raw)-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw)
	}
	text := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			text = append(text, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case 'b':
			text = append(text, '\b')
		case 'f':
			text = append(text, '\f')
		case 'n':
			text = append(text, '\n')
		case 'r':
			text = append(text, '\r')
		case 't':
			text = append(text, '\t')
		case 'u':
			r := hex4(raw[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				pair := utf8.RuneError
				if bytes.HasPrefix(raw[i+1:], []byte(`\u`)) {
					pair = utf16.DecodeRune(r, hex4(raw[i+3:]))
				}
				if pair == utf8.RuneError {
					text = append(text, 0xff)
					continue
				}
				r = pair
				i += 6
			}
			text = utf8.AppendRune(text, r)
		default: // a quote, a slash or a backslash
			text = append(text, raw[i])
		}
	}
	return string(text)
}

// hex4 is the number that four valid hexadecimal digits begin b with.
func hex4(b []byte) (r rune) {
	for _, c := range b[:4] {
		r <<= 4
		switch {
		case c <= '9':
			r |= rune(c - '0')
		default:
			r |= rune(c|0x20) - 'a' + 10
		}
	}
	return r
}

// isNull says whether a field is absent or null.
func isNull(raw json.RawMessage) bool { return raw == nil || string(raw) == "null" }

// jsonKind names the kind of value that begins with c.
func jsonKind(c byte) string {
	switch c {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}
