package socketio_test

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

func TestMalformedPacketClosesTheSession(t *testing.T) {
	events := func(_ *socketio.Socket, e *socketio.Event) { t.Errorf("event %q", e.Name) }
	for _, packet := range []string{
		`4`, `4abc`, `47`, `49["a"]`, `4 2["a"]`, // types that do not exist
		`44null`, `441.5`, `44[]`, // not an error
		`42{}`, `42"a"`, `42null`, `42[]`, `42[null]`, `42[["a"]]`, `42[{"a":1}]`, `42[true]`, `42[01]`, `42[-]`, // not an event
		`42["a"`, `42["a"]]`, `42["a"]x`, `42["a"]["b"]`, `42["a",]`, `42["a",01]`, `42['a']`, `42["a",NaN]`, "42[\"a\n\"]", // not JSON
		`42abc["a"]`, `42-1["a"]`, `421.5["a"]`, `4212345678901234567890["a"]`, `4299999999999999999999["a"]`, // not an id
		`41{}`, `41null`, `43{}`, `431{}`, `43"a"`,
		`45["a"]`, `45-["a"]`, `45x-["a"]`, `45-1-["a"]`, `451.0-["a"]`, `45999999999999999999999-["a"]`, `451`, `451-{}`, `461-{}`,
		`40/` + strings.Repeat("n", 512), `42["a","` + strings.Repeat(`x",`, 10),
		`42["a"` + strings.Repeat(",0", 1001) + `]`,
	} {
		reasons := make(chan string, 1)
		c := serve(t, app{event: events, disconnect: func(_ *socketio.Socket, reason string) { reasons <- reason }}).connect()
		c.send(packet)
		if m, err := c.read(); err == nil {
			t.Errorf("%.40q: got %q, want the end of the connection", packet, m)
			continue
		}
		if reason := receive(t, reasons); reason != "parse error" {
			t.Errorf("%.40q: reason %q", packet, reason)
		}
	}
}

func TestMalformedConnectClosesTheSession(t *testing.T) {
	srv := serve(t, app{accept: func(*socketio.Socket) { t.Error("a socket was made") }})
	for _, packet := range []string{`40{`, `40{"a":1}x`, `40nul`, `4abc`, `40{"a":1},`} {
		c := srv.dial()
		c.send(packet)
		c.wantClosed()
	}
}

func TestTextThatIsNoUTF8ClosesTheSession(t *testing.T) {
	reasons := make(chan string, 1)
	p := serve(t, app{
		event:      func(_ *socketio.Socket, e *socketio.Event) { t.Errorf("event %q", e.Name) },
		disconnect: func(_ *socketio.Socket, reason string) { reasons <- reason },
	}).openPolling()
	p.post("40")
	p.get()
	p.do("POST", "421[\"a\",\"\xff\"]") // engineio is responsible for the answer
	receive(t, reasons)
}

func TestDeepNestingIsCheapAndHarmless(t *testing.T) {
	srv := serve(t, app{})
	bystander := srv.connect()
	nested := func(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }

	start := time.Now()
	for _, levels := range []int{100, 9_000} {
		c := srv.connect()
		c.send(`421["a",` + nested(levels) + `]`)
		c.want(`431[` + nested(levels) + `]`)
		c.send(`451-2["a",{"_placeholder":true,"num":0},`+nested(levels)+`]`, "bx")
		c.want(`461-2[{"_placeholder":true,"num":0},`+nested(levels)+`]`, "bx")
	}
	for _, levels := range []int{10_001, 400_000} {
		for _, packet := range []string{
			`421["a",` + nested(levels) + `]`, `42["a",` + strings.Repeat(`{"a":`, levels/8), `451-["a",` + nested(levels) + `]`,
		} {
			c := srv.connect()
			c.send(packet)
			c.wantClosed()
		}
		c := srv.dial()
		c.send(`40{"a":` + nested(levels) + `}`)
		c.wantClosed()
	}
	if took := time.Since(start); took > patience/2 {
		t.Errorf("it took %v", took)
	}
	bystander.wantAlive()
}
