package realtime

import (
	"encoding/json"
	"errors"
	"regexp"
	"testing"
	"unicode/utf8"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// channelName matches the channel names that docs/publish.md allows.
var channelName = regexp.MustCompile(`^[A-Za-z0-9_\-=@,.;:/]{1,200}$`)

// FuzzSubscribe decodes the arguments of a subscribe. The first must be a string that
// is a channel name, the second an object with at most one known option; a refusal
// repeats only a short part of them.
func FuzzSubscribe(f *testing.F) {
	for _, seed := range []string{
		`"orders.42"`, `""`, `"a b"`, `"AZaz09_-=@,.;:/"`, `"\u0061"`, `"\ud800"`, `"a\n"`, `null`, `1`, `["a"]`, `{"channel":"a"}`, `true`, "\"\u00e9\"",
	} {
		f.Add([]byte(seed), []byte(nil))
	}
	for _, seed := range []string{
		`{}`, `{"rewind":10}`, `{"rewind":"2m"}`, `{"rewind":"1d"}`, `{"rewind":1e1}`, `{"rewind":101}`, `{"rewind":"-1s"}`, `{"rewind":"\u0031s"}`,
		`{"since":"AAAAAAAAAAAABBBB-1z"}`, `{"since":"AAAAAAAAAAAABBBB-01"}`, `{"since":"AAAAAAAAAAAABBBB-3w5e11264sgsg"}`, `{"since":null}`,
		`{"since":"AAAAAAAAAAAABBBB-1","rewind":1}`, `{"rewind":1,"rewind":2}`, `{"since":1}`, `{"from":1}`, `{"\u0073ince":"x"}`, `"b"`, `[]`, `null`, `7`,
	} {
		f.Add([]byte(`"orders.42"`), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, arg, options []byte) {
		if !isArgument(arg) || len(options) > 0 && !isArgument(options) {
			return
		}
		e := &socketio.Event{Name: "subscribe", Args: []json.RawMessage{arg}}
		var from hub.From
		var optionsErr error
		if len(options) > 0 {
			e.Args = append(e.Args, options)
			from, _, optionsErr = optionsOf(options)
			mustAgree(t, options, from, optionsErr)
		}
		var value any
		_ = json.Unmarshal(arg, &value) // a number that float64 cannot hold is not a string
		want, isText := value.(string)
		channel, err := channelOf(e)
		if ok := isText && channelName.MatchString(want); ok != (err == nil) || ok && channel != want {
			t.Fatalf("%s is the channel %q, %v", arg, channel, err)
		}
		if len(channel) > maxEcho && err != nil {
			t.Fatalf("%s is refused with the channel %q", arg, channel)
		}
		for _, err := range []error{err, optionsErr} {
			refusal, isRefusal := errors.AsType[*apierr.Error](err)
			if err != nil && (!isRefusal || !utf8.ValidString(refusal.Message) || len(refusal.Message) > 400) {
				t.Fatalf("%s, %s is refused with %v", arg, options, err)
			}
		}
	})
}

func isArgument(raw []byte) bool {
	return json.Valid(raw) && utf8.Valid(raw) && raw[0] > ' ' && raw[len(raw)-1] > ' '
}

// mustAgree compares the options of a subscribe with how encoding/json reads them.
func mustAgree(t *testing.T, options []byte, from hub.From, err error) {
	t.Helper()
	var fields map[string]json.RawMessage
	isObject := json.Unmarshal(options, &fields) == nil && options[0] == '{'
	if err != nil {
		if isObject && len(fields) == 0 {
			t.Fatalf("%s is refused: %v", options, err)
		}
		return
	}
	if !isObject || len(fields) > 1 {
		t.Fatalf("%s is accepted", options)
	}
	if since, ok := fields["since"]; ok {
		var id string
		if json.Unmarshal(since, &id) != nil || from.Since == nil || from.Since.ID() != id || from.Last != 0 || from.Within != 0 {
			t.Fatalf("%s is %+v", options, from)
		}
	} else if from.Since != nil {
		t.Fatalf("%s is since %s", options, from.Since.ID())
	}
	rewind, ok := fields["rewind"]
	if (from.Last > 0 || from.Within > 0) != ok || from.Last > 0 && from.Within > 0 || from.Last > maxRewind || from.Within > bounds.MaxDuration {
		t.Fatalf("%s is %+v", options, from)
	}
	var count int
	if from.Last > 0 && (json.Unmarshal(rewind, &count) != nil || count != from.Last) {
		t.Fatalf("%s is the last %d", options, from.Last)
	}
}
