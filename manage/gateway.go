// Package manage implements everything that operators can see and change in a
// gateway, for the admin API, the portal and the command line. It accesses the
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
	"github.com/seed-c079cc48/caddy-realtime/presence"
)

// A Gateway gives operators access to the running gateway. It lasts as long as its
// keystore is open, across reloads. Its fields must be set before its first use
// and must not change afterwards.
type Gateway struct {
	// KeystorePlace is the location of the keystore, for messages to people.
	KeystorePlace string

	Registry  *keystore.Registry
	Channels  Channels
	Sockets   Sockets
	Publisher Publisher
	Presence  Presence
	Feeds     *live.Feeds

	// Webhooks delivers the events of apps to their webhooks. If it is nil, nothing
	// is known about deliveries.
	Webhooks Webhooks

	// CheckHookURL returns an error that says why a webhook must not have this URL,
	// for example because its address is private. nil allows every URL.
	CheckHookURL func(url string) error

	// Defaults returns the limits of apps without limits of their own.
	Defaults func() Defaults

	// Draining reports whether the process is exiting.
	Draining func() bool

	// Machines returns the machines of the gateway, in order of their IDs.
	Machines func() []Machine

	// Clock returns the time of all machines of the gateway, for what all of them go
	// by. nil is this machine's clock.
	Clock func(context.Context) (time.Time, error)

	// Forms remembers the portal's completed forms.
	Forms Forms

	changes changes
	hanging atomic.Int32 // abandoned health checks
}

// now returns the time of all machines.
func (g *Gateway) now(ctx context.Context) (time.Time, error) {
	if g.Clock == nil {
		return time.Now(), nil
	}
	return g.Clock(ctx)
}

// Channels gives access to the channels that have subscribers.
type Channels interface {
	// List is [hub.Hub.List].
	List(app, prefix, after string, limit int) (page []hub.Occupied, more bool)

	// Subscribers returns the number of a channel's subscribers.
	Subscribers(app, channel string) int

	// Past is [hub.Hub.Past].
	Past(ctx context.Context, app, channel string, since *hub.Position, limit int, newestFirst bool) (hub.Past, error)

	// Check delivers a message and returns an error if it does not arrive.
	Check(ctx context.Context) error
}

// Sockets gives access to the admitted sockets.
type Sockets interface {
	// Count returns the number of an app's sockets.
	Count(app string) int

	// CountByKey counts an app's sockets by the id of the key that let them in.
	CountByKey(app string) map[string]int

	// List returns a page of an app's sockets ordered by ID. The page begins
	// after the ID in after, and contains only members of channel unless that is
	// "". next is "" on the last page.
	List(app, channel, after string, limit int) (page []Connection, next string)

	// Find returns a socket of an app. The error, of type *apierr.Error, says that the
	// socket was not found everywhere it may be.
	Find(app, id string) (Connection, bool, error)

	// Disconnect closes a socket, logs the reason, and reports whether the socket
	// existed. Stock clients do not reconnect automatically. The error, of type
	// *apierr.Error, says that the socket was not found everywhere it may be.
	Disconnect(app, id, reason string) (bool, error)

	// ListUser is List for the sockets of a user, and returns how many those are.
	ListUser(app, user, after string, limit int) (page []Connection, next string, all int)

	// Users returns a page of the users who have sockets, in order of their ids, each
	// with at most perUser of them. The page begins after the id in after. next is ""
	// on the last page.
	Users(app, after string, limit, perUser int) (page []UserSockets, next string)

	// DisconnectUser closes the sockets that a user has, after it has called before,
	// unless that fails. Those that are away cannot recover. An error of type
	// *apierr.Error says that not all were closed.
	DisconnectUser(app, user, reason string, before func() error) (int, error)
}

// UserSockets are the sockets of a user.
type UserSockets struct {
	User        string
	Sockets     int          // how many there are
	Connections []Connection // the first of them
	Next        string       // the ID to go on after, "" if those are all
}

// Presence knows the users in channels.
type Presence interface {
	// Members returns all members of a channel, in the order in which they have joined;
	// with several machines, in order of their IDs.
	Members(app, channel string) []presence.Member

	// Count returns the number of a channel's members.
	Count(app, channel string) int
}

// A Publisher delivers messages to their subscribers.
type Publisher interface {
	// Publish publishes to a channel of an app, within the app's limits. Errors
	// to show to people are of type *apierr.Error. The result is the state of
	// the rate limit; its Limit is 0 if no limit was applied.
	Publish(ctx context.Context, app *keystore.App, p message.Publication) (message.Receipt, limit.Result, error)

	// PublishAll is like Publish for 1 to 100 publications: all are accepted or
	// none.
	PublishAll(ctx context.Context, app *keystore.App, all []message.Publication) ([]message.Receipt, limit.Result, error)

	// Refused counts a refused publish.
	Refused(app string, refusal *apierr.Error)
}

// Webhooks gives access to the deliveries to webhooks.
type Webhooks interface {
	// State returns how the deliveries to a webhook of an app stand, and false if it
	// has had none.
	State(app, hook string) (HookState, bool)

	// Test sends an event to a webhook that is enabled. Errors to show to
	// people are of type *apierr.Error.
	Test(app, hook string) error
}

// A HookState is how the deliveries to a webhook stand.
type HookState struct {
	Waiting int    // events that were not received yet
	Dropped uint64 // events that never will be

	FailingSince time.Time // zero means that the last attempt succeeded
	NextAttempt  time.Time // zero means that none is planned

	Last []Delivery // the latest attempts, newest first
}

// A Delivery is an attempt to send events to a webhook.
type Delivery struct {
	ID      string // the webhook-id that the receiver sees
	Time    time.Time
	Events  int
	Attempt int    // from 1
	Status  int    // of the answer; 0 means that there was none
	Error   string // why it was not received; empty if it was
	Took    time.Duration
}

// Defaults are the limits of apps without limits of their own.
type Defaults struct {
	Publishes   int // per Window; 0 means no limit
	Window      time.Duration
	MaxChannels int   // per socket
	MaxBody     int64 // per publish, in bytes

	History    int // messages per channel; 0 means none
	HistoryAge time.Duration
	Recovery   time.Duration // 0 means none
}
