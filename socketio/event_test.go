package socketio_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

func TestEventReachesTheHandlerByteForByte(t *testing.T) {
	events := make(chan *socketio.Event, 1)
	c := serve(t, app{event: func(_ *socketio.Socket, e *socketio.Event) { events <- e }}).connect()
	for packet, want := range map[string][]string{
		`42["a"]`:                           {"a"},
		`42[""]`:                            {""},
		`42["a",1,"2",{"3":[true]}]`:        {"a", `1`, `"2"`, `{"3":[true]}`},
		`42["a",12345678901234567890.10]`:   {"a", `12345678901234567890.10`},
		`42["a",1e999]`:                     {"a", `1e999`},
		`42["a",{"z":1,"a":"\u00e9é<>"}]`:   {"a", `{"z":1,"a":"\u00e9é<>"}`},
		`42["a","],[\"\\",[[],{}],null]`:    {"a", `"],[\"\\"`, `[[],{}]`, `null`},
		"42 [ \"a\" ,\t1 ,\r\n[ 2 , 3 ] ] ": {"a", `1`, `[ 2 , 3 ]`},
		`42["\u0073ubscribe","é😀"]`:         {"subscribe", `"é😀"`},
	} {
		c.send(packet)
		e := receive(t, events)
		got := []string{e.Name}
		for _, arg := range e.Args {
			got = append(got, string(arg))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") || e.WantsAck() || e.Attachments != nil {
			t.Errorf("%s: got %q, want %q", packet, got, want)
		}
		e.Ack("unasked")
	}
	c.send(`4212["same"]`)
	c.want(`4312[]`)
	if e := receive(t, events); !e.WantsAck() {
		t.Error("the id was overlooked")
	}
}

// A session does not end because of what Node's decoder accepts.
func TestWhatNodeAcceptsKeepsTheSession(t *testing.T) {
	events := make(chan *socketio.Event, 1)
	c := serve(t, app{event: func(_ *socketio.Socket, e *socketio.Event) { events <- e }}).connect()
	for packet, want := range map[string]string{
		`42[1,"x"]`: "1", `42[1]`: "1", `42[-0.5e3,{}]`: "-0.5e3", `42`: "", `42/,`: "", `42/,[2]`: "2",
	} {
		c.send(packet)
		if e := receive(t, events); e.Name != want {
			t.Errorf("%s: name %q", packet, e.Name)
		}
	}
	c.send(`451-7[1]`, "bx")
	c.want(`437[]`)
	receive(t, events)
	c.send(`44`, `44"no"`, `44{"message":"no"}`, `43`, `431`, `461-`, "bx", `461-[{"_placeholder":true,"num":1}]`, "bx")
	c.wantAlive()
}

func TestEventMayBeKept(t *testing.T) {
	events := make(chan *socketio.Event, 2)
	c := serve(t, app{event: func(_ *socketio.Socket, e *socketio.Event) { events <- e }}).connect()
	c.send(`42["first","aaaaaaaa"]`, `42["other","bbbbbbbb"]`)
	first := receive(t, events)
	receive(t, events)
	if first.Name != "first" || string(first.Args[0]) != `"aaaaaaaa"` {
		t.Errorf("the next message overwrote it: %s %s", first.Name, first.Args)
	}
}

func TestAckIsSentOnce(t *testing.T) {
	events := make(chan *socketio.Event, 2)
	c := serve(t, app{manually: true, event: func(_ *socketio.Socket, e *socketio.Event) { events <- e }}).connect()
	c.send(`420["a"]`, `42007["b"]`)
	a, b := receive(t, events), receive(t, events)
	b.Ack(map[string]any{"channel": "<é>"}, nil, json.RawMessage(`12345678901234567890`))
	b.Ack("again")
	a.Ack()
	c.want(`437[{"channel":"<é>"},null,12345678901234567890]`, `430[]`)
	c.send("41", "40")
	c.wantConnected()
}

func TestAckThatCannotBeEncodedIsNotSent(t *testing.T) {
	c := serve(t, app{event: func(_ *socketio.Socket, e *socketio.Event) {
		if e.Name == "bad" {
			e.Ack(math.Inf(1))
		}
	}}).connect()
	c.send(`421["bad"]`, `422["good"]`)
	c.want(`432[]`)
}

func TestAcksNobodyAskedForAreIgnored(t *testing.T) {
	c := serve(t, app{event: func(_ *socketio.Socket, e *socketio.Event) {
		if e.Name != "alive" {
			t.Errorf("event %q", e.Name)
		}
	}}).connect()
	c.send(`430[]`, `431234567890123456789["a"]`, `43[1]`, `461-1[{"_placeholder":true,"num":0}]`, "bdata")
	c.wantAlive()
}

func TestEmitEncodesItsArguments(t *testing.T) {
	for _, c := range []struct {
		args []any
		want []string
	}{
		{nil, []string{`42["e"]`}},
		{[]any{1, "<2>&", nil, map[string]any{"3": []bool{true}}}, []string{`42["e",1,"<2>&",null,{"3":[true]}]`}},
		{[]any{json.RawMessage(`{"z":12345678901234567890.10,"a":"\u00e9"}`)}, []string{`42["e",{"z":12345678901234567890.10,"a":"\u00e9"}]`}},
		{
			[]any{[]byte{1, 2}, map[string]any{"deep": []any{[]byte("x")}}},
			[]string{`452-["e",{"_placeholder":true,"num":0},{"deep":[{"_placeholder":true,"num":1}]}]`, "b\x01\x02", "bx"},
		},
	} {
		client := serve(t, app{connected: func(s *socketio.Socket) {
			if err := s.Emit("e", c.args...); err != nil {
				t.Errorf("%v: %v", c.args, err)
			}
		}}).connect()
		client.want(c.want...)
	}
}

func TestEmitReportsWhatItCannotSend(t *testing.T) {
	binaries := make([]any, 11)
	for i := range binaries {
		binaries[i] = []byte{}
	}
	c := serve(t, app{connected: func(s *socketio.Socket) {
		for name, args := range map[string][]any{
			"connect": nil, "connect_error": nil, "disconnect": nil, "disconnecting": nil, "newListener": nil, "removeListener": nil,
			"infinite": {math.Inf(1)}, "function": {func() {}}, "broken": {json.RawMessage(`{"a":`)}, "binaries": binaries,
		} {
			if err := s.Emit(name, args...); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	}}).connect()
	c.wantAlive() // and none of it was sent
}

func TestEventPacketCopiesItsDataAsItIs(t *testing.T) {
	big := `{"id":12345678901234567890, "z":"\u00e9é<&>" , "a":[1.0,1e3]}`
	packets := map[string]string{
		`42["a",` + big + `]`:    big,
		`42["a",null]`:           `null`,
		`42["a"]`:                "",
		"42[\"a\",[1,\n2]]":      "[1,\n2]",
		`42["a","` + long + `"]`: `"` + long + `"`,
	}
	sockets := make(chan *socketio.Socket, 2)
	srv := serve(t, app{connected: func(s *socketio.Socket) { sockets <- s }})
	c1, c2 := srv.connect(), srv.connect()
	s1, s2 := receive(t, sockets), receive(t, sockets)
	for want, data := range packets {
		p := socketio.EventPacket("a", nil)
		if data != "" {
			p = socketio.EventPacket("a", json.RawMessage(data))
		}
		if !s1.Send(p) || !s2.Send(p) {
			t.Fatal("not sent")
		}
		c1.want(want)
		c2.want(want)
	}
	odd := socketio.EventPacket("\"\\<é\u2028", nil)
	s1.Send(odd)
	s2.Send(odd)
	var decoded []string
	if m := c1.next(); json.Unmarshal([]byte(strings.TrimPrefix(m, "42")), &decoded) != nil || decoded[0] != "\"\\<é\u2028" {
		t.Errorf("got %q", m)
	}
}

// long does not fit the short forms of a frame's length.
var long = strings.Repeat("x", 1<<16)

func TestReservedEventNamesAreRefused(t *testing.T) {
	srv := serve(t, app{event: func(_ *socketio.Socket, e *socketio.Event) { t.Errorf("event %q", e.Name) }})
	for _, name := range []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", `conn\u0065ct`} {
		c := srv.connect()
		c.send(`42["` + name + `"]`)
		c.wantClosed()
	}
}
