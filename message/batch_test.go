package message

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

func TestSeveralChannelsGetTheSameEvent(t *testing.T) {
	b, err := Decode([]byte(` { "event":"e", "channels" : [ "a","\u0062" , "c/d" ], "data":{ "x": 1 }, "except":"s", "history":false } `))
	if err != nil {
		t.Fatal(err)
	}
	if got := summary(b.Several); got != `a e { "x": 1 } s false, b e { "x": 1 } s false, c/d e { "x": 1 } s false` {
		t.Fatal(got)
	}
}

func TestSeveralMessagesAreReadInOrder(t *testing.T) {
	b, err := Decode([]byte(`{"messages":[
		{"channel":"a","event":"e","data":[1,{"b":"]}"}]},
		{"history":false,"event":"f","channel":"a"} ,
		{"except":"s","channel":"b","data":null,"history":true,"event":"e"}
	]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := summary(b.Several); got != `a e [1,{"b":"]}"}]  true, a f   false, b e null s true` {
		t.Fatal(got)
	}
}

func TestOneOfAListIsAListToo(t *testing.T) {
	for _, body := range []string{`{"channels":["c"],"event":"e"}`, `{"messages":[{"channel":"c","event":"e"}]}`} {
		if b, err := Decode([]byte(body)); err != nil || len(b.Several) != 1 {
			t.Errorf("%s: %+v, %v", body, b, err)
		}
	}
	if b, err := Decode([]byte(`{"channel":"c","event":"e","history":false}`)); err != nil || b.Several != nil || !b.One.NoHistory {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestAHundredMessagesAreAccepted(t *testing.T) {
	for _, body := range []string{manyChannels(maxBatch), manyMessages(maxBatch, "1")} {
		if b, err := Decode([]byte(body)); err != nil || len(b.Several) != maxBatch {
			t.Errorf("%d, %v", len(b.Several), err)
		}
	}
}

func summary(all []Publication) string {
	var list []string
	for _, p := range all {
		list = append(list, fmt.Sprintf("%s %s %s %s %v", p.Channel, p.Event, p.Data, p.Except, !p.NoHistory))
	}
	return strings.Join(list, ", ")
}

func manyChannels(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"c%d"`, i)
	}
	return `{"event":"e","channels":[` + b.String()[1:] + `]}`
}

func manyMessages(n int, data string) string {
	return `{"messages":[` + strings.Repeat(`,{"channel":"c","event":"e","data":`+data+`}`, n)[1:] + `]}`
}

const good = `{"channel":"c","event":"e"}`

// badBatches are like badBodies. A name begins with the position in the error.
var badBatches = []struct{ name, body, code, says string }{
	{"channel beside channels", `{"channel":"a","channels":["b"],"event":"e"}`, "invalid_request", `"channel" and "channels" are both present. Send one of`},
	{"channel beside messages", `{"channel":"a","messages":[` + good + `]}`, "invalid_request", `"channel" and "messages" are both present`},
	{"channels beside messages", `{"channels":["a"],"messages":[` + good + `]}`, "invalid_request", `"channels" and "messages" are both present`},
	{"event beside messages", `{"messages":[` + good + `],"event":"e"}`, "invalid_request", `"event" is beside "messages". Put it into each`},
	{"data beside messages", `{"messages":[` + good + `],"data":null}`, "invalid_request", `"data" is beside "messages"`},
	{"except beside messages", `{"messages":[` + good + `],"except":null}`, "invalid_request", `"except" is beside "messages"`},
	{"history beside messages", `{"history":true,"messages":[` + good + `]}`, "invalid_request", `"history" is beside "messages"`},
	{"messages twice", `{"messages":[` + good + `],"messages":[]}`, "invalid_request", `"messages" is duplicated`},
	{"channels twice", `{"channels":["a"],"\u0063hannels":["b"],"event":"e"}`, "invalid_request", `"channels" is duplicated`},
	{"other case", `{"Messages":[]}`, "invalid_request", `Did you mean "messages"?`},
	{"unknown field beside", `{"messages":[` + good + `],"users":"42"}`, "invalid_request", `Unknown field "users"`},
	{"user beside messages", `{"messages":[` + good + `],"user":"42"}`, "invalid_request", `"user" and "channels" or "messages" are both present`},
	{"user beside channels", `{"channels":["a"],"user":"42","event":"e"}`, "invalid_request", `"user" and "channels" or "messages" are both present`},
	{"@1 user and channel in a message", `{"messages":[` + good + `,{"user":"42","channel":"c","event":"e"}]}`, "invalid_request", `"channel" and "user" are both present`},
	{"@0 bad user in a message", `{"messages":[{"user":"","event":"e"}]}`, "invalid_request", `"user" is empty. Set it to the user's id, which has 1 to 128`},
	{"no channels", `{"channels":[],"event":"e"}`, "invalid_request", `"channels" is empty`},
	{"no messages", `{"messages":[ ]}`, "invalid_request", `"messages" is empty`},
	{"channels as text", `{"channels":"a","event":"e"}`, "invalid_request", `"channels" is a string`},
	{"messages as object", `{"messages":` + good + `}`, "invalid_request", `"messages" is an object`},
	{"null as messages", `{"messages":null}`, "invalid_request", `"messages" is null`},
	{"101 channels", manyChannels(101), "invalid_request", `"channels" has more than 100`},
	{"101 messages", manyMessages(101, "1"), "invalid_request", `"messages" has more than 100`},
	{"channels without event", `{"channels":["a"]}`, "invalid_request", `"event" is missing`},
	{"channels with a bad event", `{"channels":["a"],"event":"connect"}`, "reserved_event", `"connect"`},
	{"@1 number as channel", `{"channels":["a",7],"event":"e"}`, "invalid_request", `channels[1]: It is a number`},
	{"@2 bad channel", `{"channels":["a","b","c d"],"event":"e"}`, "invalid_channel", `channels[2]: The channel's name has ' '`},
	{"@2 channel twice", `{"channels":["a","b","\u0061"],"event":"e"}`, "invalid_request", `channels[2]: "a" is also channels[0]`},
	{"@0 number as message", `{"messages":[1]}`, "invalid_request", `messages[0]: It is a number`},
	{"@1 array as message", `{"messages":[` + good + `,[]]}`, "invalid_request", `messages[1]: It is an array`},
	{"@1 empty message", `{"messages":[` + good + `,{}]}`, "invalid_request", `messages[1]: "channel" is missing`},
	{"@0 message without event", `{"messages":[{"channel":"c"}]}`, "invalid_request", `messages[0]: "event" is missing`},
	{"@1 unknown field", `{"messages":[` + good + `,{"channel":"c","event":"e","id":1}]}`, "invalid_request", `messages[1]: Unknown field "id"`},
	{"@0 field twice", `{"messages":[{"channel":"c","event":"e","event":"e"}]}`, "invalid_request", `messages[0]: "event" is duplicated`},
	{"@0 messages in a message", `{"messages":[{"messages":[]}]}`, "invalid_request", `messages[0]: It has "channels" or "messages"`},
	{"@0 channels in a message", `{"messages":[{"channels":["a"],"event":"e"}]}`, "invalid_request", `Give each message one "channel"`},
	{"@1 bad channel in a message", `{"messages":[` + good + `,{"channel":"ü","event":"e"}]}`, "invalid_channel", `messages[1]: The channel's name has 'ü'`},
	{"@1 reserved event", `{"messages":[` + good + `,{"channel":"c","event":"subscribe"}]}`, "reserved_event", `messages[1]: The event name`},
	{"@99 the last of a hundred", strings.TrimSuffix(manyMessages(99, "1"), "]}") + `,{"channel":"c","event":""}]}`, "invalid_event", `messages[99]:`},
	{"@0 a million messages", `{"messages":[` + strings.Repeat("0,", 1_000_000) + `0]}`, "invalid_request", `messages[0]: It is a number`},
	{"@0 deep messages", `{"messages":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`, "invalid_request", `messages[0]: It is an array`},
}

func TestBadBatchesAreRefusedWithThePositionAndTheCure(t *testing.T) {
	for _, c := range badBatches {
		t.Run(c.name, func(t *testing.T) {
			b, err := Decode([]byte(c.body))
			e, ok := errors.AsType[*apierr.Error](err)
			if !ok || b.Several != nil || b.One.Channel != "" {
				t.Fatalf("accepted, or no apierr.Error: %+v, %v", b, err)
			}
			if e.Code != c.code || !strings.Contains(e.Message, c.says) || len(e.Message) > 400 {
				t.Fatalf("got %s, want %s with %q", e, c.code, c.says)
			}
			at := -1
			_, _ = fmt.Sscanf(c.name, "@%d", &at)
			if got := e.Index; got == nil && at >= 0 || got != nil && *got != at {
				t.Fatalf("index is %v in %s", got, e)
			}
		})
	}
}

func TestAMebibyteOfMessagesIsReadQuickly(t *testing.T) {
	data := `["` + strings.Repeat("x", 10_400) + `"]`
	body := []byte(manyMessages(maxBatch, data))
	start := time.Now()
	b, err := Decode(body)
	if err != nil || len(b.Several) != maxBatch || string(b.Several[99].Data) != data {
		t.Fatal(len(b.Several), err)
	}
	if took := time.Since(start); took > 2*time.Second { // it takes some 10 ms
		t.Fatalf("took %s", took)
	}
}
