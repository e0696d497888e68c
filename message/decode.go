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

// Decode reads exactly one JSON object with the fields of a publication, each
// at most once and spelled exactly. encoding/json would accept "Channel",
// duplicate and unknown fields, and would lose the digits and the key order of
// data. Every publish passes through here, so the object is walked in place
// once json.Valid has accepted it.
func Decode(body []byte) (Publication, error) {
	var p Publication
	if err := CheckJSON(body); err != nil {
		return p, err
	}
	s := jsonscan.Scanner{B: body}
	s.Space()
	if s.B[s.I] != '{' {
		return p, apierr.InvalidRequest("The body is %s. Send %s.", jsonscan.Kind(s.B[s.I]), wantedBody)
	}
	var hasChannel, hasEvent, hasExcept bool
	for s.Next() {
		name := fieldName(s.Value())
		s.Colon()
		raw := s.Value()
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
				err = apierr.DuplicateField(name)
			}
			p.Data = json.RawMessage(raw)
		case "except":
			if hasExcept || string(raw) != "null" { // some backends send null for none
				p.Except, err = stringField(name, raw, hasExcept)
			}
			hasExcept = true
		default:
			err = errUnknownField(name)
		}
		if err != nil {
			return Publication{}, err
		}
	}
	switch {
	case !hasChannel:
		return Publication{}, apierr.InvalidRequest(`"channel" is missing. Send %s.`, wantedBody)
	case !hasEvent:
		return Publication{}, apierr.InvalidRequest(`"event" is missing. Send %s.`, wantedBody)
	}
	if err := p.check(); err != nil {
		return Publication{}, err
	}
	return p, nil
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

// fieldName is Unquote without an allocation for the known names.
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
	return jsonscan.Unquote(raw)
}

func stringField(name string, raw []byte, seen bool) (string, error) {
	if seen {
		return "", apierr.DuplicateField(name)
	}
	if raw[0] != '"' {
		return "", apierr.InvalidRequest("%q is %s. It must be a string.", name, jsonscan.Kind(raw[0]))
	}
	return jsonscan.Unquote(raw), nil
}

func errUnknownField(name string) *apierr.Error {
	for _, known := range []string{"channel", "event", "data", "except"} {
		if strings.EqualFold(name, known) {
			return apierr.InvalidRequest("Unknown field %s. Did you mean %q? Names are case-sensitive.", text.Quote(name), known)
		}
	}
	return apierr.InvalidRequest(`Unknown field %s. The body has "channel", "event" and optionally "data" and "except"; put anything else inside data.`, text.Quote(name))
}
