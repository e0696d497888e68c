package realtime

import (
	"context"
	"encoding/json"
	"errors"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/live"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/presence"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// inChannel acknowledges a subscribe or unsubscribe.
type inChannel struct {
	Channel  string             `json:"channel"`
	Presence *presence.Snapshot `json:"presence,omitempty"`
}

// maxChannels returns the app's limit, or the configuration's if the app has none.
func (s *socket) maxChannels() int {
	if app, ok := s.runtime.registry.App(s.app); ok && app.MaxChannels > 0 {
		return app.MaxChannels
	}
	return s.runtime.settings().MaxChannels
}

// A subscribed is the answer to a subscribe with options, and to every subscribe
// of a client that can recover.
type subscribed struct {
	Channel  string `json:"channel"`
	ID       string `json:"id,omitempty"`
	Complete bool   `json:"complete"`
	Reason   string `json:"reason,omitempty"`
	Replayed int    `json:"replayed"`

	Presence *presence.Snapshot `json:"presence,omitempty"`
}

// subscribe adds the socket to a channel. The client gets the answer before the
// channel's first event. rest is the part that waits for the broker, if any.
func (s *socket) subscribe(e *socketio.Event) (rest func(context.Context)) {
	channel, err := channelOf(e)
	var from hub.From
	if err == nil {
		from, err = s.wanted(e, channel)
	}
	if err != nil {
		refusal := apierr.As(err)
		return s.answerGuess(refusal, func() { s.refuse(e, channel, refusal) })
	}
	limit, joined := s.maxChannels(), func(standing hub.Standing[*socketio.Broadcast]) {
		s.answerSubscribe(e, channel, from, standing)
	}
	if done, err := s.member.TrySubscribe(channel, limit, from, joined); done {
		s.subscribed(e, channel, limit, err)
		return nil
	}
	return func(ctx context.Context) {
		err := s.member.Subscribe(ctx, channel, limit, from, joined)
		if ctx.Err() == nil || err == nil { // otherwise the client has left
			s.subscribed(e, channel, limit, err)
		} else {
			s.notJoined(channel)
		}
	}
}

// wanted reads the options of a subscribe, and checks that the socket may be in the
// channel.
func (s *socket) wanted(e *socketio.Event, channel string) (from hub.From, err error) {
	if len(e.Args) > 1 {
		var raw string
		if from, raw, err = optionsOf(e.Args[1]); err != nil {
			return from, err
		}
		if raw != "" {
			if _, err := s.useToken(raw, channel); err != nil {
				return from, err
			}
		}
	}
	app, ok := s.runtime.registry.App(s.app)
	if !ok {
		return from, apierr.UnknownApp(s.app)
	}
	rule := app.Rule(channel) // an app can have many
	if err := s.mayJoin(app, rule, channel); err != nil {
		s.notJoined(channel)
		return from, err
	}
	s.attend(rule, channel)
	return from, nil
}

// notJoined forgets what was prepared for a channel, unless the socket is in it.
func (s *socket) notJoined(channel string) {
	if s.member.In(channel) {
		return
	}
	if r := s.rights.Load(); r != nil {
		r.forget(channel)
	}
	s.absent(channel)
}

// subscribed completes subscribe with the hub's answer.
func (s *socket) subscribed(e *socketio.Event, channel string, limit int, err error) {
	if err != nil {
		s.notJoined(channel)
	}
	switch {
	case err == nil:
		s.countSubscriptions()
		s.tell(live.Event{Kind: live.Subscribed, Channel: channel})
		// The app may have changed meanwhile. A later change finds the socket there.
		if app, ok := s.runtime.registry.App(s.app); ok {
			s.stays(app, app.Rule(channel), channel)
		}
	case errors.Is(err, hub.ErrClosed):
		// The client has left.
	case errors.Is(err, hub.ErrPosition):
		s.refuse(e, channel, apierr.InvalidPosition())
	case errors.Is(err, hub.ErrTooMany):
		s.refuse(e, channel, apierr.TooManyChannels(limit))
	default:
		s.runtime.faults.subscribe.Log(s.runtime.log.Error, "subscribe failed", zap.String("app", s.app), zap.Error(err))
		s.refuse(e, channel, apierr.As(err))
	}
}

// unsubscribe removes the socket from a channel, even if it was not subscribed.
func (s *socket) unsubscribe(e *socketio.Event) {
	channel, err := channelOf(e)
	if err != nil {
		s.refuse(e, channel, apierr.As(err))
		return
	}
	s.member.Unsubscribe(channel)
	if r := s.rights.Load(); r != nil {
		r.forget(channel)
	}
	s.absent(channel)
	s.countSubscriptions()
	s.answer(e, "unsubscribed", inChannel{Channel: channel})
	s.tell(live.Event{Kind: live.Unsubscribed, Channel: channel})
}

// answerSubscribe says where the channel stands, if the client wants to know, and
// sends what is replayed.
func (s *socket) answerSubscribe(e *socketio.Event, channel string, from hub.From, standing hub.Standing[*socketio.Broadcast]) {
	if from == (hub.From{}) && standing.Position == (hub.Position{}) {
		s.answer(e, "subscribed", inChannel{channel, s.presenceOf(channel)})
		return
	}
	answer := subscribed{
		Presence: s.presenceOf(channel),
		Channel:  channel, Complete: standing.Missing == "", Reason: string(standing.Missing), Replayed: len(standing.Replayed),
	}
	if standing.Position.Epoch != "" {
		answer.ID = standing.Position.ID()
	}
	s.answer(e, "subscribed", answer)
	s.conn.Send(s.packets(standing.Replayed)...)
}

func (s *socket) answer(e *socketio.Event, event string, answer any) {
	s.notify(event, answer)
	e.Ack(answer)
}

// notify sends the client an event of the gateway itself.
func (s *socket) notify(event string, data any) {
	s.conn.Send(socketio.EventPacket(event, mustJSON(data)))
}

func (s *socket) refuse(e *socketio.Event, channel string, refusal *apierr.Error) {
	refusal = s.visitor.site.explain(refusal)
	s.tellRefused("subscribe", channel, refusal)
	s.notify("subscribe_error", struct {
		Channel string `json:"channel"`
		*apierr.Error
	}{channel, refusal})
	e.Ack(refused{refusal})
}

// channelOf reads the argument of subscribe and unsubscribe. With an error, it
// returns as much of the channel's name as it could read.
func channelOf(e *socketio.Event) (string, error) {
	if len(e.Args) == 0 || len(e.Args) > 1 && (e.Name != "subscribe" || len(e.Args) > 2) {
		return "", errArguments(e.Name)
	}
	var channel string
	if err := json.Unmarshal(e.Args[0], &channel); err != nil || e.Args[0][0] != '"' {
		return "", apierr.InvalidChannel(`A channel is a string: socket.emit("%s", "orders.42").`, e.Name)
	}
	if err := message.CheckChannel(channel); err != nil {
		return channel[:min(len(channel), maxEcho)], err
	}
	return channel, nil
}

func errArguments(event string) *apierr.Error {
	if event == "subscribe" {
		return apierr.InvalidRequest(`subscribe takes a channel, and options if you need them: socket.emit("subscribe", "orders.42", { rewind: 10 }).`)
	}
	return apierr.InvalidRequest(`%s takes one argument, a channel: socket.emit("%s", "orders.42").`, event, event)
}

// maxEcho bounds how much of an invalid channel name is returned, in bytes.
const maxEcho = 256
