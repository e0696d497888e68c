package socketio

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/zishang520/socket.io/parsers/socket/v3/parser"
	"github.com/zishang520/socket.io/v3/pkg/types"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// diary is a handler that records what it is told, and checks its order.
type diary struct {
	t         *testing.T
	connected bool
	events    [][]any // each with its name, and its binaries in place
}

func (d *diary) Connect(auth json.RawMessage) error {
	if d.connected || auth != nil && (auth[0] != '{' || !json.Valid(auth)) {
		d.t.Errorf("Connect with %s, connected: %t", auth, d.connected)
	}
	d.connected = true
	return nil
}

func (d *diary) Event(e *Event) func(context.Context) {
	if !d.connected {
		d.t.Errorf("the event %q before Connect", e.Name)
	}
	event := []any{e.Name}
	for _, arg := range e.Args {
		var value any
		if err := json.Unmarshal(arg, &value); err != nil {
			value = string(arg) // a number that float64 cannot hold
		}
		event = append(event, putBack(value, e.Attachments))
	}
	d.events = append(d.events, event)
	e.Ack(e.Values()...)
	return nil
}

func (d *diary) Disconnect(string) {
	if !d.connected {
		d.t.Error("Disconnect without Connect")
	}
	d.connected = false
}

// ended reports the end of a session.
type ended struct {
	engineio.Receiver
	over chan struct{}
}

func (e ended) Closed(reason engineio.Reason) {
	e.Receiver.Closed(reason)
	close(e.over)
}

// binary is an attachment in the place of its placeholder.
type binary string

// putBack replaces placeholders with their attachments.
func putBack(value any, attachments [][]byte) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = putBack(v[i], attachments)
		}
	case map[string]any:
		n, ok := v["num"].(float64)
		if ok && len(attachments) > 0 && v["_placeholder"] == true && n >= 0 && n < 1<<63 && n == math.Trunc(n) {
			return binary(attachments[int(n)]) // an index out of range is refused
		}
		for name := range v {
			v[name] = putBack(v[name], attachments)
		}
	case types.BufferInterface:
		return binary(v.Bytes())
	}
	return value
}

// FuzzSession posts a payload to a session: any packets, in any order. The
// application is told what the library's decoder reads, as far as it is
// allowed, in order, with each binary in its place, and nothing out of turn.
func FuzzSession(f *testing.F) {
	for _, seed := range []string{
		"40", "40{\"a\":1}\x1e42[\"e\",1,{\"a\":[null]}]\x1e427[\"f\"]", "42[\"early\"]", "40\x1e40", "40\x1e41\x1e40\x1e42[\"again\"]",
		"40\x1e451-[\"e\",{\"_placeholder\":true,\"num\":0}]\x1ebAQID\x1e42[\"f\"]",
		"40\x1e452-9[\"e\",{\"b\":{\"_placeholder\":true,\"num\":1}},{\"_placeholder\":true,\"num\":0}]\x1ebAQ==\x1ebAg==",
		"40\x1e452-[\"e\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":0}]\x1ebAQ==\x1eb",
		"40\x1e451-[\"e\",{\"_placeholder\":true,\"num\":1}]\x1ebAQ==", "40\x1e451-[\"e\"]\x1ebAQ==", "40\x1e451-[\"e\"]\x1e42[\"f\"]", "40\x1ebAQ==",
		"40\x1e451-[\"e\",{\"_placeholder\":true},{\"_placeholder\":true,\"num\":0.5},{\"_placeholder\":true,\"num\":-1}]\x1ebAQ==",
		"40\x1e451-[\"e\",{\"_placeholder\":true,\"num\":1e300}]\x1ebAQ==",
		"40\x1e450-[\"e\"]\x1e42[\"f\"]", "40\x1e4511-[\"e\"]", "40\x1e43[1]\x1e461-1[{\"_placeholder\":true,\"num\":0}]\x1ebAQ==\x1e42[\"f\"]",
		"40/admin,\x1e40\x1e42[\"e\"]", "40\x1e42/admin,[\"e\"]", "40[]\x1e40\x1e42[\"e\"]", "405\x1e40", "40\x1e3\x1e1\x1e42[\"late\"]", "40\x1e2", "40\x1e42[\"connect\"]", "40\x1e42[\"e\",1e999]",
	} {
		f.Add([]byte(seed))
	}
	var now *diary
	var opened *engineio.Session
	over := make(chan struct{})
	core, complaints := observer.New(zap.ErrorLevel)
	sockets := NewServer(Config{ConnectTimeout: time.Minute, Logger: zap.New(core)}, func(*Socket) Handler { return now })
	engine := engineio.NewServer(engineio.Config{
		PingInterval: time.Hour, PingTimeout: time.Hour, MaxPayload: 1 << 20, MaxQueue: 1 << 24, WriteTimeout: time.Minute, UpgradeTimeout: time.Minute, BodyTimeout: time.Minute,
		Logger: zap.New(core),
	}, func(s *engineio.Session) engineio.Receiver {
		opened = s
		return ended{sockets.Open(s), over}
	})
	f.Cleanup(engine.Close)
	request := func(method, query string, body []byte) string {
		w := httptest.NewRecorder()
		engine.Serve(w, httptest.NewRequest(method, "/socket.io/?EIO=4&transport=polling"+query, bytes.NewReader(body)), engineio.Exchange{})
		return w.Body.String()
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		now, over = &diary{t: t}, make(chan struct{})
		request(http.MethodGet, "", nil)
		session := opened
		request(http.MethodPost, "&sid="+session.ID(), payload)
		session.Abort(engineio.TransportClose)
		<-over
		if log := complaints.TakeAll(); len(log) > 0 { // a panic was contained
			t.Errorf("%q: %v", payload, log)
		}
		if now.connected {
			t.Errorf("%q: no Disconnect", payload)
		}
		if n := sockets.Connecting(); n != 0 {
			t.Errorf("%q: %d still connect", payload, n)
		}
		want, all := readByLibrary(payload)
		got := now.events
		if len(got) > len(want) && !all {
			got = got[:len(want)]
		}
		if len(got) > len(want) || !reflect.DeepEqual(append([][]any{}, got...), append([][]any{}, want[:len(got)]...)) {
			t.Errorf("%q is %s, the library has %s", payload, fmt.Sprint(got), fmt.Sprint(want))
		}
	})
}

// withoutAttachments matches packets after which the library waits for a binary
// forever.
var withoutAttachments = regexp.MustCompile(`^[56]0+-`)

// readByLibrary returns the events that the library's decoder reads from a
// payload, up to the first packet that is not allowed at its point. all is
// false if the rest is unknown because the library does not read it correctly.
func readByLibrary(payload []byte) (events [][]any, all bool) {
	var got *parser.Packet
	d := parser.NewDecoder()
	_ = d.On("decoded", func(args ...any) { got, _ = args[0].(*parser.Packet) })
	connected, ack := false, false
	for part := range bytes.SplitSeq(payload, []byte{0x1e}) {
		got = nil
		switch {
		case len(part) == 0:
			return events, true
		case part[0] == '3':
			continue
		case part[0] == 'b':
			data, err := base64.StdEncoding.DecodeString(string(part[1:]))
			if err != nil || d.Add(data) != nil {
				return events, !ack // nothing looks at its placeholders
			}
		case part[0] != '4' || !utf8.Valid(part):
			return events, true
		default:
			text := string(part[1:])
			ack = strings.HasPrefix(text, "6")
			if withoutAttachments.MatchString(text) {
				return events, false
			}
			if err := d.Add(text); err != nil {
				return events, !strings.ContainsAny(text, "eE0123456789") // some of these make a number that float64 cannot hold
			}
		}
		if got == nil {
			continue // until its attachments have arrived
		}
		_, isObject := got.Data.(map[string]any)
		switch {
		case got.Nsp != "/" && got.Type != parser.CONNECT, got.Nsp == "/" && got.Type != parser.CONNECT && !connected, got.Nsp == "/" && got.Type == parser.CONNECT && connected:
			return events, true
		case got.Nsp != "/":
		case got.Type == parser.CONNECT:
			connected = got.Id == nil && (got.Data == nil || isObject)
		case got.Type == parser.DISCONNECT:
			connected = false
		case got.Type == parser.EVENT, got.Type == parser.BINARY_EVENT:
			values, _ := got.Data.([]any)
			if len(values) == 0 {
				return events, false // our name for it is empty
			}
			if _, isNumber := values[0].(float64); isNumber {
				return events, false // we keep its name as it was sent
			}
			events = append(events, putBack(values, nil).([]any))
		}
	}
	return events, true
}
