// Package load is the client side of the benchmark: thousands of sockets that
// count what is delivered, and publishers that send it.
package load

import (
	"crypto/tls"
	"net"
	"time"
)

// A Dialect is the protocol that a server speaks on its sockets.
type Dialect int

// The dialects.
const (
	SocketIO Dialect = iota
	Centrifuge
)

// A Target is a server under load.
type Target struct {
	Addr    string
	TLS     *tls.Config // nil for plain HTTP
	Dialect Dialect

	// Auth is the JSON that a Socket.IO client sends with CONNECT.
	Auth string

	// Headers are more lines of a publish, each with its CRLF.
	Headers string

	// Others are further apps of the server, for works on several.
	Others []App

	// From is the address that connections are from, nil for the system's
	// choice.
	From *net.TCPAddr
}

// An App is what is sent for one: see Target.
type App struct{ Auth, Headers string }

// of returns the target for the i-th of so many apps.
func (t *Target) of(i, apps int) *Target {
	if i %= max(apps, 1); i > 0 {
		other := *t
		other.Auth, other.Headers = t.Others[i-1].Auth, t.Others[i-1].Headers
		return &other
	}
	return t
}

func (t *Target) dial() (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	if t.From != nil {
		dialer.LocalAddr = t.From
	}
	if t.TLS != nil {
		return tls.DialWithDialer(dialer, "tcp", t.Addr, t.TLS)
	}
	return dialer.Dial("tcp", t.Addr)
}

// started is what the timestamps in messages count from.
var started = time.Now()

func now() int64 { return int64(time.Since(started)) }
