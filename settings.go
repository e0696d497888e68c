package realtime

import (
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
	"github.com/seed-c079cc48/caddy-realtime/internal/descriptors"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// RateLimit bounds publishes per app in a rolling window.
type RateLimit struct {
	// Publishes accepted in any window. 0 is no limit.
	Publishes int `json:"publishes"`

	// Window is the window's length.
	Window caddy.Duration `json:"window"`
}

// Rate bounds something in a window of time.
type Rate struct {
	// Count is how many there may be in a window. 0 is no limit.
	Count int `json:"count"`

	// Window is the window's length.
	Window caddy.Duration `json:"window"`
}

// Settings are the process-wide limits and times of a configuration. All of
// them can change at a reload; an open socket keeps what its client was told when
// it was opened: its heartbeat and MaxPacket.
//
// In JSON, a string with placeholders, for example "{env.MAX_BODY}", may stand
// for any value. It is replaced at Provision and then read as in a Caddyfile:
// "1MiB", "10s", or "600 1m" for a whole rate.
type Settings struct {
	// RateLimit of an app that has none of its own. Default: 600 in 1m.
	RateLimit *RateLimit `json:"rate_limit,omitempty"`

	// MaxBody is the largest body of POST /publish, in bytes. Default: 1 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	// BodyTimeout is how long a request's body may take to arrive, that of
	// POST /publish or of a client on long-polling. An exit waits for it, so
	// it had better be less than Drain. Default: 10s.
	BodyTimeout caddy.Duration `json:"body_timeout,omitempty"`

	// MaxChannels is how many channels one socket may subscribe to.
	// Default: 100.
	MaxChannels int `json:"max_channels,omitempty"`

	// PingInterval is the time between the server's heartbeats. Default: 25s.
	PingInterval caddy.Duration `json:"ping_interval,omitempty"`

	// PingTimeout is how long a client may take to answer a heartbeat.
	// Default: 20s.
	PingTimeout caddy.Duration `json:"ping_timeout,omitempty"`

	// ConnectTimeout is how long a client may take to send its credentials
	// once its transport is open. Default: 10s.
	ConnectTimeout caddy.Duration `json:"connect_timeout,omitempty"`

	// MaxConnecting is how many clients may be between opening a connection
	// and having their credentials accepted, at a time; one address may have a
	// quarter of them, rounded up. Others are told to come back. Default: 5000.
	MaxConnecting int `json:"max_connecting,omitempty"`

	// MaxConnections is how many clients may be connected, those that are
	// about to connect included. 0 is no limit. Default: nine tenths of the
	// file descriptors that the process may have; no limit where the system
	// sets none.
	MaxConnections *int `json:"max_connections,omitempty"`

	// MaxConnectionsPerIP is how many of them may be from one address; an IPv6
	// address stands for its /64. Default: 0, no limit.
	MaxConnectionsPerIP int `json:"max_connections_per_ip,omitempty"`

	// ConnectRate bounds the connections that one address may open. Default:
	// no limit.
	ConnectRate *Rate `json:"connect_rate,omitempty"`

	// MessageRate bounds the packets that the client of one socket may send,
	// answers to heartbeats aside. It may always send as many as it takes to
	// subscribe to all the channels that it may, and to unsubscribe. Over it
	// nothing is done for it, and with twice as many it is cut off. Default:
	// 1000 in 10s.
	MessageRate *Rate `json:"message_rate,omitempty"`

	// MaxPacket is the largest message, or POST of long-polling, that a client
	// may send, in bytes. Default: 64 KiB.
	MaxPacket int64 `json:"max_packet,omitempty"`

	// AuthFailures is how many wrong credentials an address may send in a
	// window, or in up to two, before answers to the next are held for a
	// second. Default: 30 in 1m.
	AuthFailures *Rate `json:"auth_failures,omitempty"`

	// MaxQueue is how many bytes may wait for one client before it is cut
	// off. Default: 1 MiB.
	MaxQueue int64 `json:"max_queue,omitempty"`

	// WriteTimeout is how long one write to a client may take before it is
	// cut off, up to a quarter more. Default: 10s.
	WriteTimeout caddy.Duration `json:"write_timeout,omitempty"`

	// Drain is how long sockets may take to close at exit; 0, or a negative
	// duration, closes them at once. Default: 15s.
	Drain *caddy.Duration `json:"drain,omitempty"`
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// defaultMaxConnections leaves a tenth of the process's file descriptors to
// Caddy's other sites, its admin endpoint and the store. It is 0, no limit,
// where the system sets none that could be met.
func defaultMaxConnections() int {
	limit := descriptors.Limit() / 10 * 9
	if limit > bounds.MaxCount {
		return 0
	}
	return int(limit)
}

// connectionLimits are the limits of clients' connections.
func (s *Settings) connectionLimits() access.Limits {
	return access.Limits{
		Connections:      *s.MaxConnections,
		ConnectionsPerIP: s.MaxConnectionsPerIP,
		Connects:         s.ConnectRate.Count,
		ConnectWindow:    time.Duration(s.ConnectRate.Window),
	}
}

// defaults are the limits of apps that have none of their own.
func (s *Settings) defaults() manage.Defaults {
	return manage.Defaults{
		Publishes:   s.RateLimit.Publishes,
		Window:      time.Duration(s.RateLimit.Window),
		MaxChannels: s.MaxChannels,
		MaxBody:     s.MaxBody,
	}
}
