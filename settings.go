package realtime

import (
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
	"github.com/seed-c079cc48/caddy-realtime/internal/descriptors"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// RateLimit bounds an app's publishes in a rolling window.
type RateLimit struct {
	// Publishes accepted in any window. 0 means no limit.
	Publishes int `json:"publishes"`

	// Window is the window's length.
	Window caddy.Duration `json:"window"`
}

// Rate bounds events in a window of time.
type Rate struct {
	// Count is the limit of events in a window. 0 means no limit.
	Count int `json:"count"`

	// Window is the window's length.
	Window caddy.Duration `json:"window"`
}

// Settings are a configuration's process-wide limits and timeouts. A reload can
// change all of them, but an open socket keeps the values its client received when
// it connected: the heartbeat and MaxPacket.
//
// In JSON, a string with placeholders, for example "{env.MAX_BODY}", can replace
// any value. It is resolved at Provision and then parsed as in a Caddyfile:
// "1MiB", "10s", or "600 1m" for a whole rate.
type Settings struct {
	// RateLimit applies to apps without a limit of their own. Default: 600 in 1m.
	RateLimit *RateLimit `json:"rate_limit,omitempty"`

	// History is how many of its newest messages a channel keeps, and for how
	// long; a count of 0 keeps none. It applies to apps without a history of
	// their own. Default: 100 for 2m.
	History *Rate `json:"history,omitempty"`

	// HistoryMemory bounds the memory of all channels' histories, in bytes. The
	// oldest messages go first. Default: 64 MiB.
	HistoryMemory int64 `json:"history_memory,omitempty"`

	// Recovery is how long a client that asked for recovery can be away and still
	// get what it missed; 0 turns recovery off. It applies to apps without a
	// time of their own. Default: 2m.
	Recovery *caddy.Duration `json:"recovery,omitempty"`

	// PresenceGrace is how long a user stays in a channel with presence after its
	// last socket has left. Default: 5s.
	PresenceGrace *caddy.Duration `json:"presence_grace,omitempty"`

	// WebhookTargets says where webhooks can point to: "public" addresses, or "any",
	// such as loopback and private ones. Default: public.
	WebhookTargets string `json:"webhook_targets,omitempty"`

	// RecoveryFile keeps what clients can recover over a planned restart. It is
	// written at exit and read once at the next start; "off" turns that off.
	// Default: "recovery" in the directory of the badger keystore, otherwise
	// "realtime.recovery" in Caddy's data directory.
	RecoveryFile string `json:"recovery_file,omitempty"`

	// NodeAddress is the URL at which the other machines of the broker reach this one,
	// such as http://10.0.1.7:9001. The gateway listens there for requests of long-polling
	// clients that a load balancer has sent to another machine. If it is to listen on
	// another address, that one follows after a space. Default: none; such clients then
	// have to reconnect.
	NodeAddress string `json:"node_address,omitempty"`

	// MaxBody is the largest body of POST /publish, in bytes. Default: 1 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	// BodyTimeout is how long a request's body can take to arrive, for
	// POST /publish and for a client on long-polling. An exit waits for it, so
	// it should be less than Drain. Default: 10s.
	BodyTimeout caddy.Duration `json:"body_timeout,omitempty"`

	// MaxChannels is the number of channels one socket can subscribe to.
	// Default: 100.
	MaxChannels int `json:"max_channels,omitempty"`

	// PingInterval is the time between the server's heartbeats. Default: 25s.
	PingInterval caddy.Duration `json:"ping_interval,omitempty"`

	// PingTimeout is how long a client can take to answer a heartbeat.
	// Default: 20s.
	PingTimeout caddy.Duration `json:"ping_timeout,omitempty"`

	// ConnectTimeout is how long a client can take to send its credentials
	// once its transport is open. Default: 10s.
	ConnectTimeout caddy.Duration `json:"connect_timeout,omitempty"`

	// MaxConnecting limits the clients that have opened a connection but whose
	// credentials are not accepted yet. One address can have a quarter of them,
	// rounded up. Other clients are told to retry. Default: 5000.
	MaxConnecting int `json:"max_connecting,omitempty"`

	// MaxConnections limits the clients that are connected or connecting.
	// 0 means no limit. Default: nine tenths of the file descriptors available
	// to the process; no limit where the system sets none.
	MaxConnections *int `json:"max_connections,omitempty"`

	// MaxConnectionsPerIP limits them for each address; an IPv6 address counts
	// as its /64. Default: 0, no limit.
	MaxConnectionsPerIP int `json:"max_connections_per_ip,omitempty"`

	// ConnectRate limits the connections that one address opens. Default:
	// no limit.
	ConnectRate *Rate `json:"connect_rate,omitempty"`

	// MessageRate limits the packets that one socket's client sends, without
	// answers to heartbeats. A client can always send enough packets to
	// subscribe to and unsubscribe from all channels it is allowed. Packets over
	// the limit have no effect; at twice the limit the client is cut off.
	// Default: 1000 in 10s.
	MessageRate *Rate `json:"message_rate,omitempty"`

	// MaxPacket is the size limit, in bytes, of a client's message or
	// long-polling POST. Default: 64 KiB.
	MaxPacket int64 `json:"max_packet,omitempty"`

	// AuthFailures limits the wrong credentials that an address sends in a
	// window, or in up to two, before answers to further ones are delayed by a
	// second. Default: 30 in 1m.
	AuthFailures *Rate `json:"auth_failures,omitempty"`

	// MaxQueue limits the bytes queued for one client before it is cut off.
	// Default: 1 MiB.
	MaxQueue int64 `json:"max_queue,omitempty"`

	// WriteTimeout is how long one write to a client can take, up to a quarter
	// more, before the client is cut off. Default: 10s.
	WriteTimeout caddy.Duration `json:"write_timeout,omitempty"`

	// Drain is how long sockets can take to close at exit; 0 or a negative
	// duration closes them immediately. Default: 15s.
	Drain *caddy.Duration `json:"drain,omitempty"`
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// defaultMaxConnections leaves a tenth of the process's file descriptors for
// Caddy's other sites, its admin endpoint and the store. It returns 0, for no
// limit, where the system sets none that could be reached.
func defaultMaxConnections() int {
	limit := descriptors.Limit() / 10 * 9
	if limit > bounds.MaxCount {
		return 0
	}
	return int(limit)
}

// connectionLimits returns the limits for client connections.
func (s *Settings) connectionLimits() access.Limits {
	return access.Limits{
		Connections:      *s.MaxConnections,
		ConnectionsPerIP: s.MaxConnectionsPerIP,
		Connects:         s.ConnectRate.Count,
		ConnectWindow:    time.Duration(s.ConnectRate.Window),
	}
}

// defaults returns the limits of apps without limits of their own.
func (s *Settings) defaults() manage.Defaults {
	return manage.Defaults{
		Publishes:   s.RateLimit.Publishes,
		Window:      time.Duration(s.RateLimit.Window),
		MaxChannels: s.MaxChannels,
		MaxBody:     s.MaxBody,
		History:     s.History.Count,
		HistoryAge:  time.Duration(s.History.Window),
		Recovery:    time.Duration(*s.Recovery),
	}
}
