package hub

import (
	"context"

	"go.uber.org/zap"
)

// A Broker numbers the messages of an app, and takes them to the hubs of all
// machines. A hub starts it, and closes it. Its errors mean that a message was not
// accepted or a channel not subscribed to: people are told to try again, and the
// reason is logged.
type Broker interface {
	// Start is called once, before anything else. The broker calls the handler
	// until Close has returned.
	Start(h Handler) error

	// Publish accepts a message: it gives it its ID and Offset, and has every hub
	// that is interested in its channel deliver it, this one included, whether
	// before it returns or later. m and its Data are the caller's again
	// once it has returned.
	Publish(ctx context.Context, m *Message) (Receipt, error)

	// Forget drops what is kept of an app that is gone for good. Were it published
	// to again, its IDs would be new ones. It must not block: changes of apps wait
	// for it.
	Forget(app string)

	// Close returns when the handler is called no more. It is also called after a
	// Start that failed.
	Close() error
}

// An Interested broker takes messages only to hubs that have subscribers in their
// channel.
type Interested interface {
	Broker

	// Interest says that the hub has a first subscriber in a channel, or that the
	// last has left. Once it has returned nil, what is published to the channel is
	// delivered; who subscribes waits for that. Calls for a channel do not overlap.
	// Their order is that of the changes, but a change that is taken back at once
	// may not be told. ctx ends when nobody waits any more.
	Interest(ctx context.Context, app, channel string, on bool) error
}

// A Handler is a hub, as its broker knows it.
type Handler interface {
	// Deliver queues a message for the channel's subscribers of this machine. The
	// calls for one app do not overlap, and come in the order of the offsets, so
	// that a subscriber gets the messages of all its channels in that order.
	// Deliver never waits.
	Deliver(m *Message) Delivery

	// Subscribers is how many subscribers of this machine a channel has.
	Subscribers(app, channel string) int
}

// A Delivery is a message that was queued for the subscribers of this machine.
type Delivery struct {
	// Subscribers are those that it was queued for.
	Subscribers int

	first Flusher
	batch interface{ flush() } // with first in it
}

// Flush has what was queued sent. It is called once, when no lock is held, and the
// next message may be delivered before. It writes to one subscriber itself; more
// are left to other goroutines.
func (d Delivery) Flush() {
	switch {
	case d.batch != nil:
		go d.batch.flush()
	case d.first != nil:
		d.first.Flush(nil)
	}
}

// An Opener opens a broker. It is what a Caddy module of the namespace
// realtime.brokers is, beside caddy.Module; modules are opened when a
// configuration starts, and not to validate one.
type Opener interface {
	// Identity is the same for configurations that use the same broker, which a
	// reload then leaves open, with all sockets. Operators see it: it has no
	// secrets.
	Identity() string

	// Open opens the broker. It logs to logger.
	Open(logger *zap.Logger) (Broker, error)
}
