package realtime

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// maxRewind is how many messages a subscribe can ask for.
const maxRewind = 100

// optionsOf reads the options of a subscribe. token is "" if there is none.
func optionsOf(options json.RawMessage) (from hub.From, token string, err error) {
	if options[0] != '{' {
		return from, "", apierr.InvalidRequest(`The options of subscribe are %s. They must be an object, for example { rewind: 10 } or { since: id }.`,
			jsonscan.Kind(options[0]))
	}
	s := jsonscan.Scanner{B: options}
	var since, rewind, given []byte
	for s.Next() {
		name := jsonscan.Unquote(s.Value())
		s.Colon()
		value := s.Value()
		switch {
		case name == "since" && since != nil, name == "rewind" && rewind != nil, name == "token" && given != nil:
			return from, "", apierr.DuplicateField(name)
		case name == "since":
			since = value
		case name == "rewind":
			rewind = value
		case name == "token":
			given = value
		default:
			return from, "", apierr.InvalidRequest("Unknown option %s. subscribe has the options since, rewind and token.", text.Quote(name))
		}
	}
	switch {
	case since != nil && rewind != nil:
		err = apierr.InvalidRequest("since and rewind exclude each other. Send one of them.")
	case since != nil:
		from.Since, err = sinceOf(since)
	case rewind != nil:
		err = rewindOf(rewind, &from)
	}
	if err == nil && given != nil {
		token, err = givenToken(given)
	}
	if err != nil {
		return hub.From{}, "", err
	}
	return from, token, nil
}

func givenToken(value []byte) (string, error) {
	if value[0] != '"' || len(value) == len(`""`) {
		return "", apierr.InvalidRequest("token is %s. It must be a string, a token that your backend has signed.", text.Quote(string(value[:min(len(value), 20)])))
	}
	return jsonscan.Unquote(value), nil
}

// sinceOf reads the ID of a message.
func sinceOf(value []byte) (*hub.Position, error) {
	if value[0] != '"' {
		return nil, apierr.InvalidRequest("since is %s. It must be a string, the id of a message.", jsonscan.Kind(value[0]))
	}
	p, ok := hub.ParseID(jsonscan.Unquote(value))
	if !ok {
		return nil, apierr.InvalidPosition()
	}
	return &p, nil
}

// rewindOf reads a number of messages or a duration.
func rewindOf(value []byte, from *hub.From) error {
	var valid bool
	if value[0] == '"' {
		d, err := caddy.ParseDuration(jsonscan.Unquote(value))
		from.Within, valid = d, err == nil && d > 0 && d <= bounds.MaxDuration
	} else {
		err := json.Unmarshal(value, &from.Last)
		valid = err == nil && from.Last >= 1 && from.Last <= maxRewind
	}
	if !valid {
		return apierr.InvalidRequest(`rewind is %s. It must be a number of messages from 1 to %d, or a duration such as "2m", up to %s.`,
			text.Quote(string(value)), maxRewind, text.ShortDuration(bounds.MaxDuration))
	}
	return nil
}
