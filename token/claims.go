package token

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/pattern"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

// claims are a token's claims, which its signer chose.
type claims struct {
	Token
	notBefore time.Time // zero if there is none
}

// readClaims reads the payload of a token whose signature was verified. Unknown
// claims are ignored (RFC 7519, section 4).
func readClaims(payload []byte) (*claims, error) {
	c := new(claims)
	err := readObject("The token's payload", payload, func(name string, value []byte) (err error) {
		switch name {
		case "sub":
			c.User, err = userOf(value)
		case "exp":
			c.Expires, err = dateOf(name, value)
		case "nbf":
			c.notBefore, err = dateOf(name, value)
		case "iat":
			c.Issued, err = dateOf(name, value)
		case "channels":
			c.Grants, err = grantsOf(value)
		case "info":
			c.Info, err = infoOf(value)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if c.Info != nil && c.User == "" {
		return nil, apierr.InvalidToken("The token has info, which presence shows with a user, but no sub. Set sub to the user's id, or leave info out.")
	}
	return c, nil
}

func userOf(raw []byte) (string, error) {
	user, err := stringOf("sub", raw)
	if err != nil {
		return "", err
	}
	if user == "" {
		return "", apierr.InvalidToken("The token's sub is empty. Set it to the user's id, or leave it out.")
	}
	if err := message.CheckUser("The token's sub", user); err != nil {
		return "", apierr.InvalidToken("%s", apierr.As(err).Message)
	}
	return user, nil
}

// maxDate is the end of the year 9999, in seconds since 1970.
const maxDate = 253402300799

// dateOf reads a NumericDate (RFC 7519, section 2), which may have a fraction.
func dateOf(name string, raw []byte) (time.Time, error) {
	if kind := jsonscan.Kind(raw[0]); kind != "a number" {
		return time.Time{}, apierr.InvalidToken("The token's %s is %s. It must be a number: seconds since 1970.", name, kind)
	}
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || seconds < 0 || seconds > maxDate {
		return time.Time{}, apierr.InvalidToken("The token's %s is not in the years 1970 to 9999. It must be seconds since 1970, not milliseconds.", name)
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), nil
}

const channelsExample = `["private-user.42",{"match":"presence-room.*","client_events":true}]`

func grantsOf(raw []byte) ([]Grant, error) {
	if raw[0] != '[' {
		return nil, apierr.InvalidToken("The token's channels is %s. It must be a list of channels and patterns: %s.", jsonscan.Kind(raw[0]), channelsExample)
	}
	var grants []Grant
	s := jsonscan.Scanner{B: raw}
	for s.Element() {
		if len(grants) == MaxGrants {
			return nil, apierr.InvalidToken("The token's channels has more than %d elements. Use patterns: orders.* stands for all channels that begin like that.", MaxGrants)
		}
		grant, err := grantOf(len(grants), s.Value())
		if err != nil {
			return nil, err
		}
		grants = append(grants, grant)
	}
	return grants, nil
}

// grantOf reads the i-th element of channels.
func grantOf(i int, raw []byte) (g Grant, err error) {
	where := "channels[" + strconv.Itoa(i) + "]"
	switch raw[0] {
	case '"':
		g.Match = jsonscan.Unquote(raw)
	case '{':
		found := false
		err = readObject("The token's "+where, raw, func(name string, value []byte) (err error) {
			switch name {
			case "match":
				found = true
				g.Match, err = stringOf(where+".match", value)
			case "client_events":
				g.ClientEvents, err = boolOf(where+".client_events", value)
			default:
				err = apierr.InvalidToken("The token's %s has the unknown field %s. Allowed are match and client_events.", where, text.Quote(name))
			}
			return err
		})
		if err == nil && !found {
			err = apierr.InvalidToken(`The token's %s has no match. Set it to a channel or a pattern: {"match":"presence-room.*"}.`, where)
		}
	default:
		err = apierr.InvalidToken("The token's %s is %s. It must be a channel, a pattern or an object: %s.", where, jsonscan.Kind(raw[0]), channelsExample)
	}
	if err != nil {
		return Grant{}, err
	}
	return g, checkPattern(where, g.Match)
}

// checkPattern returns an error that says why a pattern is invalid, or nil.
func checkPattern(where, p string) error {
	prefix, valid := pattern.Prefix(p)
	if !valid {
		return apierr.InvalidToken(`The token's %s is %s. It must be a channel, or the beginning of channels followed by one *: "orders.*".`, where, text.Quote(p))
	}
	if prefix == "" {
		return nil
	}
	if err := message.CheckChannel(prefix); err != nil {
		return apierr.InvalidToken("The token's %s is %s, which no channel matches. %s", where, text.Quote(p), apierr.As(err).Message)
	}
	return nil
}

// infoOf returns compact JSON, or nil for null.
func infoOf(raw []byte) (json.RawMessage, error) {
	if jsonscan.IsNull(raw) {
		return nil, nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return nil, err // readObject has checked it
	}
	if n := compact.Len(); n > MaxInfo {
		return nil, apierr.InvalidToken("The token's info has %d bytes; at most %d are allowed. Send what presence shows, a name for example, and let clients fetch the rest.", n, MaxInfo)
	}
	return compact.Bytes(), nil
}
