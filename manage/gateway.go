// Package manage is what an operator may ask of a gateway, and change in it:
// once, for the admin API, the portal and the command line. It reaches the
// gateway through the interfaces of [Gateway].
package manage

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
	"github.com/seed-c079cc48/caddy-realtime/internal/live"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

// A Gateway is what runs, as far as operators are concerned. It lasts as long
// as its keystore is open, over reloads. Its fields are set before its first use
// and do not change.
type Gateway struct {
	// KeystorePlace says where the keystore is, for advice to people.
	KeystorePlace string

	Registry  *keystore.Registry
	Channels  Channels
	Sockets   Sockets
	Publisher Publisher
	Feeds     *live.Feeds

	// Defaults are the limits of apps that have none of their own.
	Defaults func() Defaults

	// Draining reports whether the process is about to end.
	Draining func() bool

	// Forms are those that the portal has taken.
	Forms Forms

	changes changes
	hanging atomic.Int32 // checks of the health that were left behind
}

// Channels are those that have subscribers.
type Channels interface {
	// List is [hub.Hub.List].
	List(app, prefix, after string, limit int) (page []hub.Occupied, more bool)

	// Subscribers is how many a channel has.
	Subscribers(app, channel string) int

	// Check delivers a message, and fails if it does not arrive.
	Check(ctx context.Context) error
}

// Sockets are the clients that were let in.
type Sockets interface {
	// Count is how many an app has.
	Count(app string) int

	// CountByKey counts an app's sockets by the id of the key that let them in.
	CountByKey(app string) map[string]int

	// List is a page of an app's sockets in order of their ids: those that come
	// after an id, and are in a channel, unless that is "". next is "" on the
	// last page.
	List(app, channel, after string, limit int) (page []Connection, next string)

	// Find finds a socket of an app.
	Find(app, id string) (Connection, bool)

	// Disconnect ends a socket for a reason that is logged, and reports whether
	// it was there. Stock clients do not come back by themselves.
	Disconnect(app, id, reason string) bool
}

// A Publisher takes messages to their subscribers.
type Publisher interface {
	// Publish publishes to a channel of an app under the app's limits. Its errors
	// are of type *apierr.Error where they are for people. The result is that of
	// the rate limit, whose Limit is 0 if none was applied.
	Publish(ctx context.Context, app *keystore.App, p message.Publication) (message.Receipt, limit.Result, error)

	// Refused counts a publish that was refused.
	Refused(app string, refusal *apierr.Error)
}

// Defaults are the limits of apps that have none of their own.
type Defaults struct {
	Publishes   int // in any Window; 0 is no limit
	Window      time.Duration
	MaxChannels int   // of one socket
	MaxBody     int64 // of a publish, in bytes
}
