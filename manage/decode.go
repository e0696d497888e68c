package manage

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// decodeAdmin strictly decodes a JSON body.
func decodeAdmin(w http.ResponseWriter, r *http.Request, into any) error {
	if err := access.CheckBodyType(r); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		e := apierr.PayloadTooLarge(MaxBody, "more than "+strconv.Itoa(MaxBody))
		e.Message = "The body is larger than " + strconv.Itoa(MaxBody) + " bytes. Send less."
		return e
	}
	if err != nil {
		return apierr.InvalidRequest("The body could not be read: %s.", err)
	}
	return decodeStrict(body, into)
}

// decodeStrict accepts exactly one JSON object with only the fields of into.
func decodeStrict(body []byte, into any) error {
	if err := jsonscan.CheckUTF8(body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return apierr.InvalidJSON("Unexpected data follows the JSON object at byte %d. Send one object per request.", d.InputOffset())
		}
		return checkFieldNames(body)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return apierr.InvalidJSON("The body is not JSON at byte %d: %s.", syntax.Offset, syntax)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return apierr.InvalidRequest("%s must be %s, not %s.", cmp.Or(wrong.Field, "The body"), wanted(wrong.Field), article(wrong.Value))
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name, _ := strconv.Unquote(field) // encoding/json quotes like Go
		return apierr.InvalidRequest("Unknown field %s.", text.Quote(name))
	}
	return apierr.InvalidJSON("The body is not one complete JSON object.")
}

// wanted describes the value that a field of the admin API's bodies accepts.
func wanted(field string) string {
	switch field {
	case "":
		return "an object"
	case "enabled", "presence", "client_events":
		return "true or false"
	case "kind":
		return `"publish", "subscribe" or "sign"`
	case "scopes":
		return `a list of scopes, ["publish","manage"]`
	case "channels":
		return `a list of channels, ["private-user.42"]`
	case "expires_in":
		return `a duration, "1h"`
	case "overlap":
		return `a duration, "24h"`
	case "window":
		return `a duration, "1m"`
	case "age":
		return `a duration, "2m"`
	case "publishes", "messages":
		return "a whole number"
	case "allowed_origins":
		return `a list of strings, ["https://app.example.com"]`
	}
	return "a string"
}

// article puts an article before a kind of JSON value: "number 1.5", "object".
func article(kind string) string {
	switch {
	case strings.HasPrefix(kind, "number "):
		return "the " + kind
	case kind == "bool":
		return "true or false"
	case kind == "array":
		return "a list"
	case kind == "object":
		return "an object"
	}
	return "a " + kind
}

// checkFieldNames rejects what encoding/json accepts: null for an object, duplicate
// fields, names in uppercase, and strings with half a surrogate pair, which it would
// replace. body must be JSON for a struct whose field names are lowercase.
func checkFieldNames(body []byte) error {
	s := jsonscan.Scanner{B: body}
	s.Space()
	if kind := jsonscan.Kind(s.B[s.I]); s.B[s.I] != '{' {
		return apierr.InvalidRequest("It is %s. Send an object.", kind)
	}
	seen := make(map[string]bool)
	for s.Next() {
		name := jsonscan.Unquote(s.Value())
		s.Colon()
		value := s.Value()
		switch {
		case value[0] == '"' && !utf8.ValidString(jsonscan.Unquote(value)):
			return apierr.InvalidRequest("%s has half of a surrogate pair, which is not a character. Send the complete character.", text.Quote(name))
		case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "":
			return apierr.InvalidRequest("Unknown field %s. Names are lowercase.", text.Quote(name))
		case seen[name]:
			return apierr.DuplicateField(name)
		}
		seen[name] = true
	}
	return nil
}
