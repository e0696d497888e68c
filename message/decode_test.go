package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

func TestPublicationIsReadAsSent(t *testing.T) {
	for _, c := range []struct {
		name, body, channel, event, data string
	}{
		{"whole", `{"channel":"orders.42","event":"order.updated","data":{"id":42}}`, "orders.42", "order.updated", `{"id":42}`},
		{"no data", `{"channel":"c","event":"e"}`, "c", "e", ""},
		{"null data", `{"channel":"c","event":"e","data":null}`, "c", "e", "null"},
		{"any order", `{"data":[1],"event":"e","channel":"c"}`, "c", "e", "[1]"},
		{"space everywhere", " {\r\n\t\"channel\" : \"c\" , \"event\"\n:\"e\" ,\"data\" : { \"a\" : 1 } } \n", "c", "e", `{ "a" : 1 }`},
		{"large integer", `{"channel":"c","event":"e","data":123456789012345678901234567890.000}`, "c", "e", "123456789012345678901234567890.000"},
		{"key order and duplicate keys in data", `{"channel":"c","event":"e","data":{"b":1,"a":2,"b":3}}`, "c", "e", `{"b":1,"a":2,"b":3}`},
		{"escapes in data", `{"channel":"c","event":"e","data":"\u00e9\/\ud800\"\\"}`, "c", "e", `"\u00e9\/\ud800\"\\"`},
		{"unicode in data", "{\"channel\":\"c\",\"event\":\"e\",\"data\":\"é\u2028😀\"}", "c", "e", "\"é\u2028😀\""},
		{"brackets in strings", `{"channel":"c","event":"e","data":["]}\"",{"}":"["}]}`, "c", "e", `["]}\"",{"}":"["}]`},
		{"scalars", `{"data":true,"channel":"c","event":"e"}`, "c", "e", "true"},
		{"number before a brace", `{"channel":"c","event":"e","data":-1.5e+3}`, "c", "e", "-1.5e+3"},
		{"escaped names and values", `{"\u0063hannel":"\u0063\/d","event":"\u00e9\ud83d\ude00"}`, "c/d", "é😀", ""},
		{"every channel character", `{"channel":"AZaz09_-=@,.;:/","event":"e"}`, "AZaz09_-=@,.;:/", "e", ""},
		{"event with spaces", `{"channel":"c","event":"order was updated ✓"}`, "c", "order was updated ✓", ""},
		{
			"longest names", `{"channel":"` + strings.Repeat("c", 200) + `","event":"` + strings.Repeat("é", 200) + `"}`,
			strings.Repeat("c", 200), strings.Repeat("é", 200), "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := decodeOne([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if p.Channel != c.channel || p.Event != c.event || string(p.Data) != c.data {
				t.Fatalf("got %q %q %q", p.Channel, p.Event, p.Data)
			}
			if (c.data == "") != (p.Data == nil) {
				t.Fatalf("absent and null data are not told apart: %#v", p.Data)
			}
		})
	}
}

func TestPublicationMayLeaveASocketOut(t *testing.T) {
	for body, want := range map[string]string{
		`{"channel":"c","event":"e"}`:                   "",
		`{"channel":"c","event":"e","except":null}`:     "",
		`{"channel":"c","event":"e","except":""}`:       "",
		`{"except":"Ab-_09","channel":"c","event":"e"}`: "Ab-_09",
	} {
		if p, err := decodeOne([]byte(body)); err != nil || p.Except != want {
			t.Errorf("%s: %q, %v", body, p.Except, err)
		}
	}
}

// channelName is a channel's name as documented.
var channelName = regexp.MustCompile(`^[A-Za-z0-9_\-=@,.;:/]{1,200}$`)

// badBodies are refused with this code and a message that contains this text.
var badBodies = []struct{ name, body, code, says string }{
	{"empty", "", "invalid_json", "empty"},
	{"only space", " \r\n ", "invalid_json", "empty"},
	{"word", "hello", "invalid_json", "byte 1:"},
	{"form", "channel=c&event=e", "invalid_json", "byte 1:"},
	{"single quotes", `{'channel':'c'}`, "invalid_json", "byte 2:"},
	{"trailing comma", `{"channel":"c","event":"e",}`, "invalid_json", "byte 28:"},
	{"comment", `{"channel":"c"/**/}`, "invalid_json", "byte 15:"},
	{"truncated", `{"channel":"c","event":"e","data":{"id":4`, "invalid_json", "after 41 bytes"},
	{"truncated string", `{"channel":"c`, "invalid_json", "after 13 bytes"},
	{"truncated escape", `{"channel":"\u00`, "invalid_json", "byte 16"},
	{"raw control character", "{\"channel\":\"c\",\"event\":\"a\nb\"}", "invalid_json", "byte 26"},
	{"bad escape", `{"channel":"\x41","event":"e"}`, "invalid_json", "byte 14"},
	{"bad number", `{"channel":"c","event":"e","data":01}`, "invalid_json", "byte 36"},
	{"NaN", `{"channel":"c","event":"e","data":NaN}`, "invalid_json", "byte 35"},
	{"two bodies", `{"channel":"c","event":"e"}{"channel":"d","event":"e"}`, "invalid_json", "follows the JSON object at byte 28"},
	{"two bodies on two lines", "{\"channel\":\"c\",\"event\":\"e\"}\n{}", "invalid_json", "follows the JSON object"},
	{"byte order mark", "\uFEFF{\"channel\":\"c\",\"event\":\"e\"}", "invalid_json", "byte order mark"},
	{"UTF-16", "\xff\xfe{\x00\"\x00", "invalid_json", "not UTF-8 at byte 1"},
	{"latin-1 in data", "{\"channel\":\"c\",\"event\":\"e\",\"data\":\"caf\xe9\"}", "invalid_json", "not UTF-8 at byte 39"},
	{"surrogate in UTF-8", "{\"channel\":\"c\",\"event\":\"\xed\xa0\x80\"}", "invalid_json", "not UTF-8"},
	{"overlong UTF-8", "{\"channel\":\"\xc0\xaf\",\"event\":\"e\"}", "invalid_json", "not UTF-8"},
	{"NUL", "\x00", "invalid_json", "byte 1"},
	{"a level too deep", nest(maxDepth), "invalid_json", "10000 levels"},
	{"a million levels", nest(1_000_000), "invalid_json", "10000 levels"},
	{"a million open brackets", strings.Repeat("[", 1_000_000), "invalid_json", "10000 levels"},
	{"array", `[{"channel":"c","event":"e"}]`, "invalid_request", "is an array"},
	{"string", `"channel"`, "invalid_request", "is a string"},
	{"number", `42`, "invalid_request", "is a number"},
	{"boolean", ` true `, "invalid_request", "is a boolean"},
	{"null", `null`, "invalid_request", "is null"},
	{"empty object", `{}`, "invalid_request", `"channel" is missing`},
	{"no channel", `{"event":"e"}`, "invalid_request", `"channel" is missing`},
	{"no event", `{"channel":"c","data":1}`, "invalid_request", `"event" is missing`},
	{"number as channel", `{"channel":42,"event":"e"}`, "invalid_request", `"channel" is a number`},
	{"null as channel", `{"channel":null,"event":"e"}`, "invalid_request", `"channel" is null`},
	{"list of channels", `{"channel":["c"],"event":"e"}`, "invalid_request", `"channel" is an array`},
	{"object as event", `{"channel":"c","event":{}}`, "invalid_request", `"event" is an object`},
	{"boolean as event", `{"channel":"c","event":false}`, "invalid_request", `"event" is a boolean`},
	{"number as except", `{"channel":"c","event":"e","except":1}`, "invalid_request", `"except" is a number`},
	{"except twice", `{"channel":"c","event":"e","except":null,"except":"a"}`, "invalid_request", `"except" is duplicated`},
	{"long except", `{"channel":"c","event":"e","except":"` + strings.Repeat("x", 65) + `"}`, "invalid_request", "socket.id"},
	{"history as text", `{"channel":"c","event":"e","history":"false"}`, "invalid_request", `"history" is a string`},
	{"null as history", `{"channel":"c","event":"e","history":null}`, "invalid_request", `"history" is null`},
	{"history twice", `{"channel":"c","event":"e","history":true,"history":false}`, "invalid_request", `"history" is duplicated`},
	{"unknown field", `{"channel":"c","event":"e","socket_id":"1"}`, "invalid_request", `"socket_id"`},
	{"another case", `{"Channel":"c","event":"e"}`, "invalid_request", `Did you mean "channel"?`},
	{"long unknown field", `{"` + strings.Repeat("x", 5000) + `":1}`, "invalid_request", `xxx"…`},
	{"half a surrogate pair as field", `{"\ud800":1}`, "invalid_request", "Unknown field"},
	{"channel twice", `{"channel":"c","channel":"d","event":"e"}`, "invalid_request", `"channel" is duplicated`},
	{"channel twice, once escaped", `{"channel":"c","\u0063hannel":"d","event":"e"}`, "invalid_request", `"channel" is duplicated`},
	{"event twice", `{"channel":"c","event":"e","event":"e"}`, "invalid_request", `"event" is duplicated`},
	{"data twice", `{"channel":"c","event":"e","data":null,"data":1}`, "invalid_request", `"data" is duplicated`},
	{"empty channel", `{"channel":"","event":"e"}`, "invalid_channel", "is empty"},
	{"space in channel", `{"channel":"a b","event":"e"}`, "invalid_channel", "' ' at character 2"},
	{"wildcard channel", `{"channel":"orders.*","event":"e"}`, "invalid_channel", "'*' at character 8"},
	{"umlaut in channel", `{"channel":"grün","event":"e"}`, "invalid_channel", "'ü' at character 3"},
	{"NUL in channel", `{"channel":"a\u0000","event":"e"}`, "invalid_channel", `'\x00' at character 2`},
	{"half a pair in channel", `{"channel":"a\udc00","event":"e"}`, "invalid_channel", "character 2"},
	{"long channel", `{"channel":"` + strings.Repeat("c", 201) + `","event":"e"}`, "invalid_channel", "201 characters"},
	{"empty event", `{"channel":"c","event":""}`, "invalid_event", "is empty"},
	{"newline in event", `{"channel":"c","event":"a\nb"}`, "invalid_event", `'\n' at character 2`},
	{"bidi control in event", `{"channel":"c","event":"é\u202e"}`, "invalid_event", `'\u202e' at character 2`},
	{"first half of a pair in event", `{"channel":"c","event":"\ud800"}`, "invalid_event", "surrogate"},
	{"second half of a pair in event", `{"channel":"c","event":"\ude00x"}`, "invalid_event", "surrogate"},
	{"two first halves in event", `{"channel":"c","event":"\ud800\ud800\udc00"}`, "invalid_event", "surrogate"},
	{"half a pair before another escape", `{"channel":"c","event":"\ud800\n"}`, "invalid_event", "surrogate"},
	{"long event", `{"channel":"c","event":"` + strings.Repeat("é", 201) + `"}`, "invalid_event", "201 characters"},
	{"reserved by socket.io", `{"channel":"c","event":"connect_error"}`, "reserved_event", `"connect_error"`},
	{"reserved by us", `{"channel":"c","event":"subscribed"}`, "reserved_event", `"subscribed"`},
	{"reserved, escaped", `{"channel":"c","event":"\u0063onnect"}`, "reserved_event", `"connect"`},
}

func TestBadBodiesAreRefusedWithTheCure(t *testing.T) {
	status := map[string]int{
		"invalid_json": 400, "invalid_request": 400, "invalid_channel": 422, "invalid_event": 422, "reserved_event": 422,
	}
	for _, c := range badBodies {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			p, err := decodeOne([]byte(c.body))
			e, ok := errors.AsType[*apierr.Error](err)
			if !ok {
				t.Fatalf("accepted, or no apierr.Error: %+v, %v", p, err)
			}
			if e.Status != status[c.code] || e.Code != c.code || !strings.Contains(e.Message, c.says) {
				t.Fatalf("got %s, want %s with %q", e, c.code, c.says)
			}
			if len(e.Message) > 400 || !utf8.ValidString(e.Message) {
				t.Fatalf("message is too long or not UTF-8: %q", e.Message)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Fatalf("took %s", took)
			}
		})
	}
}

func TestDataMayNestToTheLimit(t *testing.T) {
	body := nest(maxDepth - 1) // plus the body's own object
	p, err := decodeOne([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Data) != 2*(maxDepth-1) {
		t.Fatalf("data has %d bytes", len(p.Data))
	}
}

func TestDecodingWorksInPlace(t *testing.T) {
	body := []byte(`{"channel":"orders.42","event":"order.updated","data":{"id":42}}`)
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := Decode(body); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 3 { // the two names, and occasionally json.Valid's scanner
		t.Fatalf("%v allocations", allocs)
	}
}

// nest returns a body whose data is that many nested arrays.
func nest(levels int) string {
	return `{"channel":"c","event":"e","data":` + strings.Repeat("[", levels) + strings.Repeat("]", levels) + `}`
}

// decodeOne decodes a body that has one publication.
func decodeOne(body []byte) (Publication, error) {
	b, err := Decode(body)
	if err == nil && b.Several != nil {
		err = errors.New("several publications")
	}
	return b.One, err
}

// FuzzDecode compares accepted bodies with encoding/json, and refused ones with
// another definition of a publication.
func FuzzDecode(f *testing.F) {
	for _, c := range append(badBodies, badBatches...) {
		if len(c.body) < 10_000 { // the fuzzer is slow on large seeds
			f.Add([]byte(c.body))
		}
	}
	f.Add([]byte(`{"channel":"c","event":"\ud83d\ude00","data":{"a":[1,"\\\""]}}`))
	f.Add([]byte(" {\n\"data\" : null , \"event\":\"e\",\"channel\":\"c\"}\t"))
	f.Add([]byte(`{"channels":["a", "b" ],"event":"e","data":[1],"except":"s","history":false}`))
	f.Add([]byte(`{"messages" : [ {"channel":"a","event":"e","data":{}} , {"history":true,"event":"f","channel":"a","except":null}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := Decode(body)
		if err != nil {
			refusal, ok := errors.AsType[*apierr.Error](err)
			if !ok {
				t.Fatalf("not an apierr.Error: %v", err)
			}
			if isBatch(body) {
				t.Fatalf("%q is refused: %v", body, err)
			}
			if !utf8.ValidString(refusal.Message) || len(refusal.Message) > 600 || refusal.Index != nil && (*refusal.Index < 0 || *refusal.Index >= maxBatch) {
				t.Fatalf("%q is refused with %+v", body, refusal)
			}
			return
		}
		got := b.Several
		if got == nil {
			got = []Publication{b.One}
		}
		want := asEncodingJSON(t, body)
		if len(got) != len(want) || len(got) > maxBatch {
			t.Fatalf("got %+v, encoding/json has %+v", got, want)
		}
		for i, p := range got {
			if w := want[i]; p.Channel != w.Channel || p.Event != w.Event || p.Except != w.Except || !bytes.Equal(p.Data, w.Data) ||
				p.NoHistory != (w.History != nil && !*w.History) {
				t.Fatalf("got %+v, encoding/json has %+v", p, w)
			}
			if CheckChannel(p.Channel) != nil || CheckEvent(p.Event) != nil {
				t.Fatalf("accepted bad names %+v", p)
			}
		}
	})
}

// sent is a publication as encoding/json reads it.
type sent struct {
	Channel, Event, Except string
	Data                   json.RawMessage
	History                *bool
}

// asEncodingJSON returns what an accepted body publishes according to
// encoding/json.
func asEncodingJSON(t *testing.T, body []byte) []sent {
	t.Helper()
	var want struct {
		sent
		Channels []string
		Messages []sent
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&want); err != nil {
		t.Fatalf("encoding/json refuses %q: %v", body, err)
	}
	switch {
	case want.Messages != nil:
		return want.Messages
	case want.Channels == nil:
		return []sent{want.sent}
	}
	var all []sent
	for _, channel := range want.Channels {
		one := want.sent
		one.Channel = channel
		all = append(all, one)
	}
	return all
}

// isBatch reports whether a body is a publication, or several, beyond doubt.
func isBatch(body []byte) bool {
	fields, ok := objectFields(body)
	if !utf8.Valid(body) || !ok {
		return false
	}
	if messages, ok := fields["messages"].([]any); ok && len(fields) == 1 {
		var raw struct{ Messages []json.RawMessage }
		_ = json.Unmarshal(body, &raw)
		for _, message := range raw.Messages {
			if fields, ok := objectFields(message); !ok || !isPublication(fields) {
				return false
			}
		}
		return 1 <= len(messages) && len(messages) <= maxBatch
	}
	channels, ok := fields["channels"].([]any)
	if !ok {
		return isPublication(fields)
	}
	if fields["channel"] != nil || len(channels) < 1 || len(channels) > maxBatch {
		return false
	}
	delete(fields, "channels")
	seen := make(map[any]bool)
	for _, channel := range channels {
		fields["channel"] = channel
		if seen[channel] || !isPublication(fields) {
			return false
		}
		seen[channel] = true
	}
	return true
}

// objectFields returns the fields of a JSON object that has none twice.
func objectFields(body []byte) (map[string]any, bool) {
	if !json.Valid(body) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if begin, _ := d.Token(); begin != json.Delim('{') {
		return nil, false
	}
	fields := make(map[string]any)
	for d.More() {
		name, _ := d.Token()
		var value any
		if _, twice := fields[name.(string)]; twice || d.Decode(&value) != nil {
			return nil, false
		}
		fields[name.(string)] = value
	}
	return fields, true
}

// isPublication reports whether fields are those of a publication beyond doubt.
func isPublication(fields map[string]any) bool {
	for name := range fields {
		if name != "channel" && name != "event" && name != "data" && name != "except" && name != "history" {
			return false
		}
	}
	channel, _ := fields["channel"].(string)
	event, _ := fields["event"].(string)
	except, isText := fields["except"].(string)
	history, hasHistory := fields["history"]
	if _, isBool := history.(bool); hasHistory && !isBool {
		return false
	}
	return channelName.MatchString(channel) && CheckEvent(event) == nil && (isText || fields["except"] == nil) && len(except) <= maxSocketID &&
		!strings.Contains(event+except, "\ufffd") // U+FFFD may be half of a surrogate pair
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct{ name, body string }{
		{"100B", `{"channel":"orders.42","event":"order.updated","data":{"id":42,"state":"paid","total":"12.50"}}`},
		{"64KiB", `{"channel":"orders.42","event":"order.updated","data":[` + strings.Repeat(`{"id":42,"state":"paid"},`, 2600) + `0]}`},
		{"100 messages", manyMessages(maxBatch, `{"id":42,"state":"paid","total":"12.50"}`)},
		{"1MiB", manyMessages(maxBatch, `["`+strings.Repeat("x", 10_400)+`"]`)},
	} {
		b.Run(c.name, func(b *testing.B) {
			body := []byte(c.body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
