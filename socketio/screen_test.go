package socketio_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// A screener reads events named "read", and none with attachments; serve makes
// its handler a screener.
func screen(e *socketio.Event) error {
	if e.Name == "read" {
		return nil
	}
	return errors.ErrUnsupported
}

func TestRefusedEventIsNotRead(t *testing.T) {
	events := make(chan *socketio.Event, 1)
	c := serve(t, app{screen: screen, event: func(_ *socketio.Socket, e *socketio.Event) { events <- e }}).connect()
	long := strings.Repeat("x", 1000)
	for _, tc := range []struct {
		packets []string
		name    string
		refused bool
		args    int
	}{
		{[]string{`42["read",1]`}, "read", false, 1},
		{[]string{`42["read","` + long + `"]`}, "read", false, 1},
		{[]string{`42["other",1]`}, "other", true, 1}, // it is short
		{[]string{`42["other","` + long + `"]`}, "other", true, 0},
		{[]string{`42[ "other" ,` + strings.Repeat("[", 50_000)}, "other", true, 0}, // not checked for JSON
		{[]string{`42["other"` + strings.Repeat(",0", 5000) + `]`}, "other", true, 0},
		{[]string{`42[12,"` + long + `"]`}, "12", true, 0},
		{[]string{`42["` + long + `"]`}, "", true, 0},
		{[]string{`452-["other",{"_placeholder":true,"num":7}]`, "bx", "b" + long}, "other", true, 0},
		{[]string{`451-["read",{"_placeholder":true,"num":0}]`, "bx"}, "read", false, 1},
		{[]string{`451-`, "bx"}, "", true, 0},
	} {
		c.send(tc.packets...)
		e := receive(t, events)
		if e.Name != tc.name || (e.Refused != nil) != tc.refused || len(e.Args) != tc.args || tc.refused && e.Attachments != nil {
			t.Errorf("%.60q: name %q, refused: %v, %d arguments, attachments %v", tc.packets, e.Name, e.Refused, len(e.Args), e.Attachments)
		}
	}
	c.wantAlive()
}

func TestScreenKnowsHowManyAttachmentsAreToCome(t *testing.T) {
	screened, events := make(chan *socketio.Event, 1), make(chan *socketio.Event, 1)
	c := serve(t, app{
		screen: func(e *socketio.Event) error {
			screened <- e
			if e.Binaries > 0 {
				return errors.ErrUnsupported
			}
			return nil
		},
		event: func(_ *socketio.Socket, e *socketio.Event) { events <- e },
	}).connect()
	c.send(`452-["read",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
	if e := receive(t, screened); e.Name != "read" || e.Binaries != 2 || e.Attachments != nil {
		t.Errorf("before its attachments came: %+v", e)
	}
	c.send("bx", "bx")
	if e := receive(t, events); e.Refused == nil || e.Args != nil || e.Attachments != nil {
		t.Errorf("refused: %+v", e)
	}
	c.send(`42["read"]`)
	if e := receive(t, screened); e.Binaries != 0 {
		t.Errorf("without attachments: %+v", e)
	}
	if e := receive(t, events); e.Refused != nil {
		t.Errorf("without attachments: %+v", e)
	}
}

func TestRefusedEventKeepsToTheProtocol(t *testing.T) {
	srv := serve(t, app{screen: screen, event: func(_ *socketio.Socket, e *socketio.Event) { t.Errorf("event %q", e.Name) }})
	long := strings.Repeat("x", 1000)
	for name, packets := range map[string][]string{
		"short and no JSON":              {`42["other",x]`},
		"no array":                       {`42{"other":"` + long + `"}`},
		"no name":                        {`42[{"a":"` + long + `"}]`, `42[null,"` + long + `"]`},
		"broken name":                    {`42["\x","` + long + `"]`},
		"reserved name":                  {`42["\u0063onnect","` + long + `"]`},
		"text in place of an attachment": {`452-["other"]`, "bx", `42["other"]`},
		"too large":                      {`452-["other"]`, "b" + strings.Repeat("x", 1<<19), "b" + strings.Repeat("x", 1<<19+1)},
		"one to be read is no JSON":      {`42["read","` + long + `]`},
		"one to be read does not fit":    {`451-["read",{"_placeholder":true,"num":1}]`, "bx"},
	} {
		c := srv.connect()
		c.send(packets...)
		if m, err := c.read(); err == nil {
			t.Errorf("%s: got %.60q, want the end of the connection", name, m)
		}
	}
}
