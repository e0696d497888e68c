package socketio_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

func TestBinaryEventIsPutTogether(t *testing.T) {
	c := serve(t, app{event: func(s *socketio.Socket, e *socketio.Event) {
		if fmt.Sprint(e.Attachments) != "[[1 2 3] []]" || string(e.Args[1]) != `{"n":12345678901234567890,"b":{"_placeholder":true,"num":0}}` {
			t.Errorf("attachments %v, arguments %s", e.Attachments, e.Args)
		}
		if err := s.Emit("back", e.Values()...); err != nil {
			t.Error(err)
		}
	}}).connect()
	c.send(`452-7["a",{"_placeholder":true,"num":1},{"n":12345678901234567890,"b":{"_placeholder":true,"num":0}}]`,
		"b\x01\x02\x03", "b")
	// The attachments are renumbered, and map keys are sorted.
	c.want(`452-["back",{"_placeholder":true,"num":0},{"b":{"_placeholder":true,"num":1},"n":12345678901234567000}]`, "b", "b\x01\x02\x03",
		`462-7[{"_placeholder":true,"num":0},{"b":{"_placeholder":true,"num":1},"n":12345678901234567000}]`, "b", "b\x01\x02\x03")
}

func TestBinaryEventOverLongPolling(t *testing.T) {
	p := serve(t, app{}).openPolling()
	p.post("40")
	p.get()
	p.post("451-7[\"a\",{\"_placeholder\":true,\"num\":0}]\x1ebAQID")
	if got := p.get(); got != "461-7[{\"_placeholder\":true,\"num\":0}]\x1ebAQID" {
		t.Errorf("got %q", got)
	}
}

// Here, the decoders of Node and of the library wait for a binary forever.
func TestBinaryEventWithoutAttachments(t *testing.T) {
	c := serve(t, app{}).connect()
	c.send(`450-7["a",1]`)
	c.want(`437[1]`)
	c.wantAlive()
	c.send(`450-8["a",{"_placeholder":true,"num":0}]`) // just an object
	c.want(`438[{"_placeholder":true,"num":0}]`)
}

func TestTenAttachmentsAreTheMost(t *testing.T) {
	c := serve(t, app{event: func(_ *socketio.Socket, e *socketio.Event) {
		if e.Name == "ten" && len(e.Attachments) != 10 {
			t.Errorf("%d attachments", len(e.Attachments))
		}
	}}).connect()
	c.send(`4510-["ten"]`)
	for range 10 {
		c.send("b.")
	}
	c.wantAlive()
	c.send(`4511-["eleven"]`)
	c.wantClosed()
}

func TestAttachmentsAreBoundedTogether(t *testing.T) {
	srv := serve(t, app{})
	half := "b" + strings.Repeat("x", 1<<19)
	c := srv.connect()
	c.send(`452-1["a"]`, half, half)
	c.want(`431[]`)
	c.send(`453-["a"]`, half, half, "bx")
	c.wantClosed()
}

func TestMisplacedBinaryClosesTheSession(t *testing.T) {
	srv := serve(t, app{event: func(_ *socketio.Socket, e *socketio.Event) { t.Errorf("event %q", e.Name) }})
	for name, packets := range map[string][]string{
		"no header":             {"bdata"},
		"text between":          {`452-["a"]`, "bdata", `42["a"]`},
		"one too many":          {`461-1[]`, "bdata", "bdata"},
		"placeholder too large": {`451-["a",{"_placeholder":true,"num":1}]`, "bdata"},
	} {
		c := srv.connect()
		c.send(packets...)
		if _, err := c.read(); err == nil {
			t.Errorf("%s: the session goes on", name)
		}
	}
}

func TestDisconnectWhileWaitingForAttachments(t *testing.T) {
	sockets := make(chan *socketio.Socket, 1)
	reasons := make(chan string, 2)
	c := serve(t, app{
		connected:  func(s *socketio.Socket) { sockets <- s },
		event:      func(_ *socketio.Socket, e *socketio.Event) { t.Errorf("event %q", e.Name) },
		connect:    func(*socketio.Socket, json.RawMessage) error { return nil },
		disconnect: func(_ *socketio.Socket, reason string) { reasons <- reason },
	}).connect()
	c.send(`451-["a"]`)
	receive(t, sockets).Disconnect("enough")
	c.send("bdata")
	c.want("41")
	c.wantClosed()
	if reason := receive(t, reasons); reason != "enough" {
		t.Errorf("reason %q", reason)
	}
}
