package realtime

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

func TestBadSubscribesAreRefusedAndTheConnectionStays(t *testing.T) {
	s := newSite(t, func(a *App, _ *Handler) { a.MaxChannels = 1 })
	made := s.newApp()
	m := s.dial(client.OverWebSocket, made.App.ID, made.SubscribeKey)
	m.emit(`["subscribe","only"]`)
	m.want(`2["subscribed",{"channel":"only"}]`)
	long := strings.Repeat("x", 201)
	id := hub.Position{Epoch: hub.NewEpoch(made.App.ID)}.ID()
	for _, tc := range []struct{ args, channel, code string }{
		{``, "", "invalid_request"},
		{`,"a",{},{}`, "", "invalid_request"},
		{`,"a b",{"rewind":1}`, "a b", "invalid_channel"},
		{`,"a","b"`, "a", "invalid_request"},
		{`,"a",null`, "a", "invalid_request"},
		{`,"a",10`, "a", "invalid_request"},
		{`,"a",["rewind"]`, "a", "invalid_request"},
		{`,"a",{"after":"x"}`, "a", "invalid_request"},
		{`,"a",{"Rewind":1}`, "a", "invalid_request"},
		{`,"a",{"rewind":1,"rewind":1}`, "a", "invalid_request"},
		{`,"a",{"since":"` + id + `","rewind":1}`, "a", "invalid_request"},
		{`,"a",{"rewind":0}`, "a", "invalid_request"},
		{`,"a",{"rewind":101}`, "a", "invalid_request"},
		{`,"a",{"rewind":-1}`, "a", "invalid_request"},
		{`,"a",{"rewind":1.5}`, "a", "invalid_request"},
		{`,"a",{"rewind":null}`, "a", "invalid_request"},
		{`,"a",{"rewind":"soon"}`, "a", "invalid_request"},
		{`,"a",{"rewind":"0s"}`, "a", "invalid_request"},
		{`,"a",{"rewind":"25h"}`, "a", "invalid_request"},
		{`,"a",{"since":7}`, "a", "invalid_request"},
		{`,"a",{"since":null}`, "a", "invalid_request"},
		{`,"a",{"since":""}`, "a", "invalid_position"},
		{`,"a",{"since":"7"}`, "a", "invalid_position"},
		{`,null`, "", "invalid_channel"},
		{`,7`, "", "invalid_channel"},
		{`,["a"]`, "", "invalid_channel"},
		{`,{"channel":"a"}`, "", "invalid_channel"},
		{`,""`, "", "invalid_channel"},
		{`,"a b"`, "a b", "invalid_channel"},
		{`,"café"`, "café", "invalid_channel"},
		{`,"` + long + `"`, long, "invalid_channel"},
		{`,"more"`, "more", "too_many_channels"},
	} {
		t.Run(tc.code+tc.args, func(t *testing.T) {
			m.t = t
			m.emit(`5["subscribe"` + tc.args + `]`)
			var refused [2]json.RawMessage
			var event struct{ Channel, Code, Message string }
			packet := <-m.packets
			if err := json.Unmarshal([]byte(packet[1:]), &refused); err != nil {
				t.Fatal(packet, err)
			}
			if err := json.Unmarshal(refused[1], &event); err != nil || string(refused[0]) != `"subscribe_error"` ||
				event.Code != tc.code || event.Channel != tc.channel || event.Message == "" {
				t.Errorf("got %s", packet)
			}
			if ack := <-m.packets; !strings.HasPrefix(ack, `35[{"error":{"code":"`+tc.code+`","message":"`) {
				t.Errorf("acknowledgement %s", ack)
			}
		})
	}
	m.t = t
	m.emit(`["subscribe","only"]`)
	m.want(`2["subscribed",{"channel":"only"}]`)
}

func TestThePositionOfAnotherAppIsRefused(t *testing.T) {
	s := newSite(t, nil)
	made, other := s.newApp(), s.newApp()
	published, err := s.publish(other.App, message.Publication{Channel: "a", Event: "e"})
	if err != nil {
		t.Fatal(err)
	}
	m := s.dial(client.OverWebSocket, made.App.ID, made.SubscribeKey)
	m.emit(`["subscribe","a",{"since":"` + published.ID + `"}]`)
	if packet := <-m.packets; !strings.HasPrefix(packet, `2["subscribe_error",{"channel":"a","code":"invalid_position","message":"`) {
		t.Errorf("got %s", packet)
	}
	if published, err = s.publish(made.App, message.Publication{Channel: "a", Event: "e"}); err != nil {
		t.Fatal(err)
	}
	m.emit(`["subscribe","a",{"since":"` + published.ID + `"}]`)
	m.want(`2["subscribed",{"channel":"a","id":"` + published.ID + `","complete":true,"replayed":0}]`)
}

func TestWhatIsReplayedIsBounded(t *testing.T) {
	s := newSite(t, func(a *App, _ *Handler) { a.MaxBody, a.MaxQueue = 1<<10, 4<<10 })
	made := s.newApp()
	data, id := []byte(`"`+strings.Repeat("x", 900)+`"`), ""
	for range 4 { // two fit into half of max_queue
		published, err := s.publish(made.App, message.Publication{Channel: "a", Event: "e", Data: data})
		if err != nil {
			t.Fatal(err)
		}
		if id == "" {
			id = published.ID
		}
	}
	m := s.dial(client.OverWebSocket, made.App.ID, made.SubscribeKey)
	subscribe := func(options string, replayed int, complete, reason string) {
		t.Helper()
		m.emit(`["subscribe","a",` + options + `]`)
		if answer := <-m.packets; !strings.HasPrefix(answer, `2["subscribed",{"channel":"a","id":"`) ||
			!strings.HasSuffix(answer, `","complete":`+complete+reason+`,"replayed":`+strconv.Itoa(replayed)+`}]`) {
			t.Fatalf("%s is answered with %s", options, answer)
		}
		for range replayed {
			m.want(`2["e",` + string(data) + `]`)
		}
		m.emit(`["unsubscribe","a"]`)
		m.want(`2["unsubscribed",{"channel":"a"}]`)
	}
	const tooMany = `,"reason":"too_many"`
	subscribe(`{"rewind":2}`, 2, "true", "")
	subscribe(`{"rewind":4}`, 2, "false", tooMany)
	subscribe(`{"since":"`+id+`"}`, 0, "false", tooMany)
	for range 40 { // until its budget for a minute is spent
		m.emit(`["subscribe","a",{"rewind":2}]`)
		answer := <-m.packets
		if strings.HasSuffix(answer, `"complete":false,"reason":"too_many","replayed":0}]`) {
			return
		}
		m.want(`2["e",`+string(data)+`]`, `2["e",`+string(data)+`]`)
		m.emit(`["unsubscribe","a"]`)
		m.want(`2["unsubscribed",{"channel":"a"}]`)
	}
	t.Error("it is replayed without end")
}
