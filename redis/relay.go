package redis

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"golang.org/x/sync/semaphore"
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
	release, err := b.app(m.App).relays.enter(ctx, len(text))
	if err != nil {
		return b.server.explain(err)
	}
	defer release()
	return b.server.explain(b.do(ctx, func(c rueidis.Builder) rueidis.Completed {
		return c.Spublish().Channel(b.pubsubName(m.App, m.Channel)).Message(text).Build()
	}).Error())
}

const (
	// maxRelaying bounds the events of an app's clients that this machine sends to Redis at
	// a time, in bytes: without it, some hundred clients with large events keep Redis from
	// answering anybody else.
	maxRelaying = 256 << 10

	// maxToRelay bounds those and the ones that wait, in bytes.
	maxToRelay = 64 << 20

	// relaySize is the overhead of an event, so that small ones are bounded, too.
	relaySize = 256
)

var errRelays = errors.New("too many events of this app's clients wait for Redis on this machine")

// relays bounds the events of an app's clients on their way to Redis.
type relays struct {
	slots *semaphore.Weighted // bytes of maxRelaying; those that wait enter in order
	bytes atomic.Int64        // of all, also of those that wait
}

func newRelays() relays { return relays{slots: semaphore.NewWeighted(maxRelaying)} }

// enter waits until an event may be sent. release must be called once it was, unless there is
// an error.
func (r *relays) enter(ctx context.Context, size int) (release func(), err error) {
	n := int64(size + relaySize)
	if r.bytes.Add(n) > maxToRelay {
		r.bytes.Add(-n)
		return nil, errRelays
	}
	weight := min(n, maxRelaying)
	if err := r.slots.Acquire(ctx, weight); err != nil {
		r.bytes.Add(-n)
		return nil, err
	}
	return func() {
		r.slots.Release(weight)
		r.bytes.Add(-n)
	}, nil
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
