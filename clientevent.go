package realtime

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
	"github.com/seed-c079cc48/caddy-realtime/webhook"
)

const (
	// clientPrefix begins the names of events that clients send each other.
	clientPrefix = "client-"

	// maxClientEvents is how many a socket can send in a second.
	maxClientEvents = 10
)

// A clientEvent is an event for the others in a channel.
type clientEvent struct {
	channel, event string
	data           json.RawMessage // nil if there is none
}

const clientEventExample = `socket.emit("client", "presence-room.1", "client-typing", { on: true })`

func readClientEvent(e *socketio.Event) (c clientEvent, err error) {
	if len(e.Args) < 2 || len(e.Args) > 3 {
		return c, apierr.InvalidRequest("client takes a channel, the name of an event and its data: %s.", clientEventExample)
	}
	for i, into := range []*string{&c.channel, &c.event} {
		if e.Args[i][0] != '"' {
			return c, apierr.InvalidRequest("Argument %d of client is %s. It must be a string: %s.", i+1, jsonscan.Kind(e.Args[i][0]), clientEventExample)
		}
		*into = jsonscan.Unquote(e.Args[i])
	}
	if err := message.CheckChannel(c.channel); err != nil {
		return c, err
	}
	if err := message.CheckEvent(c.event); err != nil {
		return c, err
	}
	if !strings.HasPrefix(c.event, clientPrefix) {
		return c, apierr.InvalidEvent("The names of events that clients send begin with %s: %s.", clientPrefix, clientEventExample)
	}
	if len(e.Args) > 2 {
		c.data = e.Args[2]
	}
	return c, nil
}

// relay sends an event of the client to the others in a channel, on all machines. rest is
// the part that waits for the broker, if any.
func (s *socket) relay(e *socketio.Event) (rest func(context.Context)) {
	c, err := readClientEvent(e)
	if err == nil {
		err = s.mayRelay(c)
	}
	switch {
	case err != nil:
		s.refuseRelay(e, c.channel, err)
	case s.runtime.relay == nil:
		s.relayHere(e, c)
	default:
		c.data = bytes.Clone(c.data)
		return func(ctx context.Context) { s.relayEverywhere(ctx, e, c) }
	}
	return nil
}

// relayEverywhere completes relay where there can be other machines. If they cannot be
// reached, nobody gets the event, and the client can send it again. It is sent although the
// client has left since.
func (s *socket) relayEverywhere(ctx context.Context, e *socketio.Event, c clientEvent) {
	m := &hub.Message{App: s.app, Channel: c.channel, Event: c.event, Data: c.data, Except: s.ID()}
	if err := s.runtime.relay.Relay(context.WithoutCancel(ctx), m); err != nil {
		s.refuseRelay(e, c.channel, apierr.Unavailable("The event cannot be sent now. Try again.", time.Second))
		return
	}
	s.relayHere(e, c) //nolint:contextcheck // the webhooks that it begins outlive the client
}

// relayHere sends an event to the others on this machine, and acknowledges it.
func (s *socket) relayHere(e *socketio.Event, c clientEvent) {
	s.runtime.pass(&hub.Message{App: s.app, Channel: c.channel, Event: c.event, Data: c.data, Except: s.ID()})
	if s.runtime.hooks.wanted(s.app, webhook.ClientEvent, c.channel) {
		s.runtime.hooks.emit(webhook.Event{
			Type: webhook.ClientEvent, App: s.app, Channel: c.channel, User: s.rights.Load().name(), Connection: s.ID(),
			Event: c.event, Data: bytes.Clone(c.data),
		})
	}
	e.Ack(struct{}{})
}

// refuseRelay answers that an event was not sent.
func (s *socket) refuseRelay(e *socketio.Event, channel string, err error) {
	refusal := s.visitor.site.explain(apierr.As(err))
	s.tellRefused("emit", channel, refusal)
	e.Ack(refused{refusal})
}

// pass sends an event of a client to the subscribers of its channel on this machine.
func (rt *runtime) pass(m *hub.Message) {
	rt.hub.Announce(m.App, m.Channel, m.Except, func() (*socketio.Broadcast, bool) {
		return socketio.NewBroadcast(m.Event, m.Data, ""), true
	})
}

// mayRelay returns an error if the socket may not send the event, and counts it
// otherwise.
func (s *socket) mayRelay(c clientEvent) error {
	app, ok := s.runtime.registry.App(s.app)
	if !ok {
		return apierr.UnknownApp(s.app)
	}
	if !s.member.In(c.channel) {
		return apierr.ChannelForbidden("Only subscribers of a channel can send events to it. Subscribe first.")
	}
	rule := app.Rule(c.channel)
	if !rule.ClientEvents {
		return apierr.ChannelForbidden("The channel's rule allows no events of clients. Allow them: caddy realtime rule set %s %s --client-events.", app.ID, rule.Match)
	}
	if rule.Access == keystore.AccessToken && !s.rights.Load().allowsEvents(c.channel) {
		return apierr.ChannelForbidden(`The token does not allow events in this channel. The backend that signs it writes {"match":%q,"client_events":true} into channels.`, rule.Match)
	}
	if err := s.runtime.settings().checkSize(app, c.data); err != nil {
		return err
	}
	return s.countRelayed()
}

// countRelayed counts an event, unless there are too many in this second.
func (s *socket) countRelayed() error {
	s.counting.Lock()
	defer s.counting.Unlock()
	now := time.Now()
	if s.relayed == nil || now.Sub(s.relayed.second) >= time.Second {
		s.relayed = &relayed{second: now}
	}
	if s.relayed.count == maxClientEvents {
		return apierr.ClientEventRate(maxClientEvents)
	}
	s.relayed.count++
	return nil
}

// relayed counts the events that a socket has sent to others.
type relayed struct {
	second time.Time // when it began
	count  int
}

// allowsEvents reports whether a token allows events in a channel.
func (r *rights) allowsEvents(channel string) bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.of[channel].Token; t != nil {
		if events, _ := t.Allows(channel); events {
			return true
		}
	}
	if r.whole.Token == nil {
		return false
	}
	events, _ := r.whole.Allows(channel)
	return events
}
