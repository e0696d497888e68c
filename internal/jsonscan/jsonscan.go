// Package jsonscan reads JSON objects where encoding/json is too lenient or too
// slow.
package jsonscan

import (
	"bytes"
	"encoding/json"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// CheckUTF8 refuses a body that is not UTF-8; encoding/json does not check
// inside strings.
func CheckUTF8(body []byte) error {
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

// A Scanner walks an object or an array in B, which must be valid JSON, in place. I is the
// index of the next byte.
type Scanner struct {
	B []byte
	I int
}

// Next moves to the next field of the object, past the "{" or the "," before
// it, and reports whether there is one.
func (s *Scanner) Next() bool {
	s.Space()
	if s.B[s.I] == '}' {
		return false
	}
	s.I++
	s.Space()
	return s.B[s.I] != '}'
}

// Element moves to the next element of an array, past the "[" or the "," before
// it, and reports whether there is one.
func (s *Scanner) Element() bool {
	s.Space()
	if s.B[s.I] == ']' {
		return false
	}
	s.I++
	s.Space()
	return s.B[s.I] != ']'
}

// Colon moves from a field's name to its value.
func (s *Scanner) Colon() {
	s.Space()
	s.I++
	s.Space()
}

// Space skips white space.
func (s *Scanner) Space() {
	for s.I < len(s.B) {
		switch s.B[s.I] {
		case ' ', '\t', '\r', '\n':
			s.I++
		default:
			return
		}
	}
}

// Value skips the value that begins here and returns its bytes, which a later
// append cannot extend into the bytes after them.
func (s *Scanner) Value() []byte {
	start := s.I
	switch s.B[s.I] {
	case '"':
		s.skipString()
	case '{', '[':
		s.skipNested()
	default:
		s.skipScalar()
	}
	return s.B[start:s.I:s.I]
}

func (s *Scanner) skipString() {
	for s.I++; s.B[s.I] != '"'; s.I++ {
		if s.B[s.I] == '\\' {
			s.I++
		}
	}
	s.I++
}

// skipNested counts brackets instead of recursing, so that depth costs no
// stack.
func (s *Scanner) skipNested() {
	for depth := 0; ; {
		switch s.B[s.I] {
		case '"':
			s.skipString()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.I++
		if depth == 0 {
			return
		}
	}
}

func (s *Scanner) skipScalar() {
	for s.I < len(s.B) {
		switch s.B[s.I] {
		case ' ', '\t', '\r', '\n', ',', '}', ']':
			return
		}
		s.I++
	}
}

// Unquote returns the text of a valid JSON string. Half of a surrogate pair,
// for example \ud800 alone, is not a character: it becomes a byte that never
// occurs in UTF-8, so that it matches no field's name and passes no check of a
// name.
func Unquote(raw []byte) string {
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

// hex4 returns the number in the four valid hexadecimal digits that b begins
// with.
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

// IsNull reports whether a field is absent or null.
func IsNull(raw json.RawMessage) bool { return raw == nil || string(raw) == "null" }

// Kind names the kind of value that begins with c.
func Kind(c byte) string {
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
