package manage

import (
	"encoding/json"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
)

// An amount is a field of a patch that is an object of a count and a duration.
type amount struct {
	name, count, length string // of the field, and of its fields
	example             string
	none                string // what a count of 0 means
}

// decode reads the object into a struct of its fields.
func (a amount) decode(raw json.RawMessage, into any) error {
	if raw[0] != '{' {
		return apierr.InvalidRequest("%s is %s. Send %s, or null for the default.", a.name, jsonscan.Kind(raw[0]), a.example)
	}
	return decodeStrict(raw, into)
}

// read reads the object's fields. A count of 0 needs no duration, but an absent
// count is not 0.
func (a amount) read(count *int, length string) (n int, d time.Duration, err error) {
	if count == nil {
		return 0, 0, apierr.InvalidRequest(`%s needs %s: %s. %s is {"%s":0}.`, a.name, a.count, a.example, a.none, a.count)
	}
	if *count > 0 || length != "" {
		if d, err = caddy.ParseDuration(length); err != nil {
			return 0, 0, apierr.InvalidRequest(`%s's %s is a duration: %s. %s is {"%s":0}.`, a.name, a.length, a.example, a.none, a.count)
		}
	}
	return *count, d, nil
}
