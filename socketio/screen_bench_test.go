package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// refuser is a handler that refuses every event.
type refuser struct{}

func (refuser) Connect(json.RawMessage) error      { return nil }
func (refuser) Screen(*Event) error                { return errors.ErrUnsupported }
func (refuser) Event(*Event) func(context.Context) { return nil }
func (refuser) Disconnect(string)                  {}

// The cost of a packet that is refused, whatever its contents.
func BenchmarkRefusedEvent(b *testing.B) {
	const size = 64 << 10
	fill := func(head, unit, tail string) string {
		return head + strings.Repeat(unit, (size-len(head)-len(tail))/len(unit)) + tail
	}
	nested := `2["e",` + strings.Repeat("[", 9_990) + strings.Repeat("]", 9_990) + `]`
	for _, bc := range []struct {
		name, text  string
		attachments int // of 64 KiB each
	}{
		{"short", `2["e",1]`, 0},
		{"string", fill(`2["e","`, "x", `"]`), 0},
		{"array", fill(`2["e",[0`, ",0", `]]`), 0},
		{"objects", fill(`2["e",[0`, `,{"a":[]}`, `]]`), 0},
		{"arguments", fill(`2["e"`, ",0", `]`), 0},
		{"nested", nested, 0},
		{"ack", fill(`31[0`, `,{"a":[]}`, `]`), 0},
		{"attachment", `51-["e",{"_placeholder":true,"num":0}]`, 1},
		{"attachment and objects", fill(`51-["e",{"_placeholder":true,"num":0},[0`, `,{"a":[]}`, `]]`), 1},
		{"attachment and nested", `51-["e",` + nested[6:len(nested)-1] + `]`, 1},
		{"ack with attachment and objects", fill(`61-1[{"_placeholder":true,"num":0},[0`, `,{"a":[]}`, `]]`), 1},
	} {
		b.Run(bc.name, func(b *testing.B) {
			server := NewServer(Config{}, nil)
			c := &conn{server: server, socket: &Socket{handler: refuser{}, log: server.cfg.Load().Logger}}
			attachment := make([]byte, size)
			text := []byte(bc.text)
			b.ReportAllocs()
			for b.Loop() {
				c.Text(text)
				for range bc.attachments {
					c.Binary(attachment)
				}
				if c.pending != nil {
					b.Fatal("it waits for more")
				}
			}
		})
	}
}
