package hub

import (
	"context"

	"go.uber.org/zap"
)

// A Broker numbers the messages of an app and carries them to the hubs of all
// machines. A hub starts its broker and closes it. An error means that a
// message was not accepted, or a channel not subscribed to: users are told to
// try again, and the reason is logged.
type Broker interface {
	// Start is called once, before any other method. The broker can call the
	// handler until Close has returned.
	Start(h Handler) error

	// Publish accepts messages of one app, in order, all or none: it sets the
	// Position and Subscribers of each, and makes every hub that is interested
	// in its channel deliver it, including this one, whether before Publish
	// returns or later. Once it has returned, the messages and their Data belong
	// to the caller again.
	Publish(ctx context.Context, all []*Message) error

	// Forget drops the state of an app that is gone for good. If the app were
	// published to again, it would have a new epoch. Forget must not block, because
	// changes of apps wait for it.
	Forget(app string)

	// Close returns once the handler is no longer called. It is also called
	// after a failed Start.
	Close() error
}

// An Interested broker carries messages only to hubs that have subscribers in
// the message's channel.
type Interested interface {
	Broker

	// Interest reports that the hub has the first subscriber in a channel, or
	// that the last has left. Once it has returned nil, messages published to
	// the channel are delivered; subscribers wait for that. Calls for one
	// channel do not overlap, and follow the order of the changes, but a change
	// that is undone at once may be skipped. ctx ends when nobody waits any
	// longer.
	Interest(ctx context.Context, app, channel string, on bool) error

	// Sync returns once the hub has been given all messages of the app that were
	// published before the call, as far as it is interested in them, and then, with
	// Stand, a position that is not before theirs.
	Sync(ctx context.Context, app string) error
}

// A Relay is a broker that carries what clients send each other. That is not published: it
// has no position, is not kept, and does not reach a machine whose connection to the
// broker's server is interrupted. Only App, Channel, Event, Data and Except of a message
// are used.
type Relay interface {
	Broker

	// Relay gives a message to the other machines that have subscribers in its channel.
	// What one machine relays arrives in the order of the calls that have returned. The
	// message and its Data belong to the caller again afterwards.
	Relay(ctx context.Context, m *Message) error

	// Relayed has the broker call receive with what the other machines relay, one call at a
	// time for each app. It is called once, before the first subscriber. receive does not
	// wait, and owns the message.
	Relayed(receive func(m *Message))
}

// A Local broker serves a single hub, which gets every message of every app.
type Local interface {
	Broker

	// Position returns the position of an app's last message. It must not block.
	Position(app string) Position

	// Restore sets the position of an app that nothing was published to yet.
	Restore(app string, last Position)
}

// A Handler is a hub as seen by its broker.
type Handler interface {
	// Deliver queues a message for the channel's subscribers on this machine.
	// Calls for one app do not overlap and follow the order of the offsets, so
	// that a subscriber gets the messages of all its channels in that order.
	// Deliver never waits.
	Deliver(m *Message) Delivery

	// Fill says what was published to a channel before the hub had a subscriber in
	// it: past is everything after floor, up to at, that is still kept, in order of
	// offsets. The app's messages then stand at that position. An Interested broker
	// that keeps messages calls it before Interest returns, as if it were a Deliver:
	// all messages of the app up to at were delivered or will not be, and no later one
	// was. Without it, the hub knows nothing of what was published before.
	Fill(app, channel string, at Position, floor uint64, past []Filled)

	// Stand says where the app's messages stand, as if it were a Deliver: all up to that
	// position were delivered or will not be.
	Stand(app string, at Position)

	// Lost says that messages of a channel, up to this position, were published and
	// cannot be delivered any longer. It is called as if it were a Deliver.
	Lost(app, channel string, at Position)

	// Moved says that an app has a new epoch, all messages of which are to come. It is
	// called, as if it were a Deliver, before the first of them; not for the first epoch
	// that the broker knows of.
	Moved(app, epoch string)

	// Subscribers returns the number of a channel's subscribers on this
	// machine.
	Subscribers(app, channel string) int
}

// A Delivery is a message that was queued for the subscribers on this machine.
type Delivery struct {
	// Subscribers is the number of subscribers that it was queued for.
	Subscribers int

	first Flusher
	batch interface{ flush() } // includes first
}

// Flush sends what was queued. It is called once, with no lock held; the next
// message may be delivered before that. Flush itself writes to a single
// subscriber, but leaves several to other goroutines.
func (d Delivery) Flush() {
	switch {
	case d.batch != nil:
		go d.batch.flush()
	case d.first != nil:
		d.first.Flush(nil)
	}
}

// An Opener opens a broker. Caddy modules in the namespace realtime.brokers
// implement it, besides caddy.Module. A broker is opened when a configuration
// starts, not when it is validated.
type Opener interface {
	// Identity is the same for configurations that use the same broker; a
	// reload then leaves the broker and all sockets open. Operators see it, so
	// it must not contain secrets.
	Identity() string

	// Open opens the broker. It logs to logger.
	Open(logger *zap.Logger) (Broker, error)
}

// A Renewer is an Opener that can change a broker which is open, for example to use a new
// password.
type Renewer interface {
	// Renew is called when a configuration with the same Identity takes over the broker
	// that is open, and when it is taken back. After an error, the configuration is
	// refused.
	Renew(Broker) error
}
