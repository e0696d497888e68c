package token

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// readObject calls field for each field of a JSON object. It refuses names that
// occur twice, of which other readers use either (RFC 7519, section 4).
func readObject(what string, raw []byte, field func(name string, value []byte) error) error {
	switch {
	case !utf8.Valid(raw):
		return apierr.InvalidToken("%s is not UTF-8. Encode it as UTF-8 before it is signed.", what)
	case !json.Valid(raw):
		return apierr.InvalidToken("%s is not JSON. Sign a JSON object.", what)
	}
	s := jsonscan.Scanner{B: raw}
	s.Space()
	if kind := jsonscan.Kind(raw[s.I]); kind != "an object" {
		return apierr.InvalidToken("%s is %s. It must be a JSON object.", what, kind)
	}
	seen := make(map[string]struct{})
	for s.Next() {
		name := jsonscan.Unquote(s.Value())
		if _, twice := seen[name]; twice {
			return apierr.InvalidToken("%s has %s twice. Send it once.", what, text.Quote(name))
		}
		seen[name] = struct{}{}
		s.Colon()
		if err := field(name, s.Value()); err != nil {
			return err
		}
	}
	return nil
}

// stringOf reads a string. Half of a surrogate pair in it becomes invalid UTF-8.
func stringOf(name string, raw []byte) (string, error) {
	if raw[0] != '"' {
		return "", apierr.InvalidToken(`The token's %s is %s. It must be a string.`, name, jsonscan.Kind(raw[0]))
	}
	return jsonscan.Unquote(raw), nil
}

func boolOf(name string, raw []byte) (bool, error) {
	if raw[0] != 't' && raw[0] != 'f' {
		return false, apierr.InvalidToken(`The token's %s is %s. It must be true or false.`, name, jsonscan.Kind(raw[0]))
	}
	return raw[0] == 't', nil
}
