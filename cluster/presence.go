package cluster

import (
	"encoding/json"
	"time"
)

// A Presence carries which users are in which channels between the machines of one
// broker. A broker that serves several machines implements it besides Cluster.
//
// A user is a member of a channel while at least one machine says so, and a channel is
// occupied while at least one machine has subscribers in it. The machine of the first
// socket and that of the last one are told apart by the broker's server, so that all
// machines learn of a member once, in the order in which they get the channel's messages.
type Presence interface {
	// SharePresence has the broker carry what m has. It is called after Join, once, and
	// before the first subscriber.
	SharePresence(m Members)

	// PresenceChanged reports that Members.Here has another answer. It does not block,
	// and can be called with locks held that Here takes.
	PresenceChanged(app, channel, user string)
}

// Members are the members of channels as this machine knows them. The methods are called
// concurrently, but Set, Replace and Forgotten for one channel one at a time.
type Members interface {
	// Has reports whether a channel has members, by the rules of its app.
	Has(app, channel string) bool

	// Facts reports which changes of a channel are to be kept as facts: that it is
	// occupied or vacated, and that members join and leave.
	Facts(app, channel string) (occupancy, members bool)

	// Grace is for how long the clients of a machine that has ended can come back
	// elsewhere before they are no longer members.
	Grace() time.Duration

	// Here reports whether a user is a member because of this machine, and what others
	// see of it.
	Here(app, channel, user string) (info json.RawMessage, is bool)

	// EachHere calls f for each channel that has members because of this machine, with
	// all of those.
	EachHere(f func(app, channel string, members []ChannelMember))

	// Set says that a user is a member according to all machines together, or no longer.
	Set(app, channel, user string, info json.RawMessage, is bool)

	// Replace says who all members are, after it was not known for a time. It is first
	// called before the first subscriber of the machine is in the channel.
	Replace(app, channel string, members []ChannelMember)

	// Forgotten says that the last subscriber has left the channel, so that the broker no
	// longer says who the members are.
	Forgotten(app, channel string)
}

// A ChannelMember is a user in a channel. Info is shared and must not be modified.
type ChannelMember struct {
	User string
	Info json.RawMessage // nil if there is none
}
