package realtime

import (
	"encoding/json"
	"errors"
	"regexp"
	"testing"
	"unicode/utf8"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// channelName matches the channel names that docs/publish.md allows.
var channelName = regexp.MustCompile(`^[A-Za-z0-9_\-=@,.;:/]{1,200}$`)

// FuzzSubscribe decodes the argument of a subscribe. It must accept only a string that
// is a channel name; a refusal repeats only a short part of it.
func FuzzSubscribe(f *testing.F) {
	for _, seed := range []string{
		`"orders.42"`, `""`, `"a b"`, `"AZaz09_-=@,.;:/"`, `"\u0061"`, `"\ud800"`, `"a\n"`, `null`, `1`, `["a"]`, `{"channel":"a"}`, `true`, "\"\u00e9\"",
	} {
		f.Add([]byte(seed), false)
	}
	f.Add([]byte(`"orders.42"`), true)
	f.Fuzz(func(t *testing.T, arg []byte, twice bool) {
		if !json.Valid(arg) || !utf8.Valid(arg) || arg[0] <= ' ' || arg[len(arg)-1] <= ' ' {
			return // no argument
		}
		e := &socketio.Event{Name: "subscribe", Args: []json.RawMessage{arg}}
		if twice {
			e.Args = append(e.Args, arg)
		}
		var value any
		_ = json.Unmarshal(arg, &value) // a number that float64 cannot hold is not a string
		want, isText := value.(string)
		channel, err := channelOf(e)
		if ok := isText && channelName.MatchString(want) && !twice; ok != (err == nil) || ok && channel != want {
			t.Fatalf("%s is the channel %q, %v", arg, channel, err)
		}
		refusal, isRefusal := errors.AsType[*apierr.Error](err)
		if err != nil && (!isRefusal || !utf8.ValidString(refusal.Message) || len(refusal.Message) > 400 || len(channel) > maxEcho) {
			t.Fatalf("%s is refused with %v", arg, err)
		}
	})
}
