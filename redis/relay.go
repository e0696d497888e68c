package redis

import (
	"context"
	"strings"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// relayVersion begins an event that a client sends to others, in pub/sub:
//
//	c1 SP <machine> LF <body of a message>
//
// It is no message: it has no position and is in no stream. No version of an envelope
// begins like it.
const relayVersion = "c1 "

func isRelayed(text string) bool { return strings.HasPrefix(text, relayVersion) }

// Relay implements hub.Relay.
func (b *broker) Relay(ctx context.Context, m *hub.Message) error {
	ctx, done, err := b.beginWithin(ctx, requestTimeout)
	if err != nil {
		return err
	}
	defer done()
	if err := b.refusal(); err != nil {
		return b.server.explain(err)
	}
	text := relayVersion + b.machineID() + "\n" + encodeBody(m)
	return b.server.explain(b.do(ctx, func(c rueidis.Builder) rueidis.Completed {
		return c.Spublish().Channel(b.pubsubName(m.App, m.Channel)).Message(text).Build()
	}).Error())
}

// Relayed implements hub.Relay.
func (b *broker) Relayed(receive func(*hub.Message)) { b.relayed.Store(&receive) }

// takeRelayed passes an event of another machine's client on.
func (a *app) takeRelayed(s *subscription, text string) {
	receive := a.broker.relayed.Load()
	from, body, found := strings.Cut(text[len(relayVersion):], "\n")
	if receive == nil || from == a.broker.machineID() {
		return
	}
	m, err := (&envelope{body: body}).message(a.id, s.channel)
	if err != nil || !found {
		a.unreadable(errEnvelope)
		return
	}
	(*receive)(m)
}

// Interface guard
var _ hub.Relay = (*broker)(nil)
