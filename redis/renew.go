package redis

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// access is what connections are made with: users, passwords and certificates.
type access struct {
	url    string
	option *rueidis.ClientOption
}

// setAccess begins with the access that the URL gives.
func (s *Server) setAccess() {
	s.access = new(atomic.Pointer[access])
	s.access.Store(&access{s.URL, &s.option})
}

// renew has all further connections of a running keystore or broker made as a new
// configuration of the same server says. It fails, and changes nothing, if the server
// refuses that, or if the user may not run all commands.
func (s *Server) renew(latest *Server, commands []string) error {
	now := latest.access.Load()
	if now.url != s.access.Load().url {
		if err := latest.try(commands); err != nil && !unreachable(err) {
			return err
		}
	}
	s.access.Store(now)
	return nil
}

// tryTimeout bounds the connection that a reload makes. If Redis hangs, the reload goes on
// without an answer, unlike a start.
const tryTimeout = 3 * time.Second

// try connects once, and checks that the user may run these commands.
func (s *Server) try(commands []string) error {
	client, err := s.connect(func(o *rueidis.ClientOption) { o.Dialer.Timeout = tryTimeout })
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	return s.checkRights(ctx, client, commands)
}

// Renew implements hub.Renewer.
func (b *Broker) Renew(running hub.Broker) error {
	return running.(*broker).server.renew(&b.Server, brokerCommands)
}

// Renew implements keystore.Renewer. The copy on disk moves, too.
func (k *Keystore) Renew(running keystore.Store) error {
	s := running.(*store)
	if err := s.server.renew(&k.Server, keystoreCommands); err != nil {
		return err
	}
	s.useCopy(k.Copy)
	return nil
}

// useAccess has each connection of a client made with the access of the time.
func (s *Server) useAccess(option *rueidis.ClientOption) {
	current := s.access
	sentinels := new(net.Resolver) // tells the sentinels' dialer from that of the servers
	option.Sentinel.Dialer.Resolver = sentinels
	option.AuthCredentialsFn = func(c rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
		latest := current.Load().option
		if _, ok := c.Address.(sentinelAddress); ok {
			return rueidis.AuthCredentials{Username: latest.Sentinel.Username, Password: latest.Sentinel.Password}, nil
		}
		return rueidis.AuthCredentials{Username: latest.Username, Password: latest.Password}, nil
	}
	socket := option.DialCtxFn // nil unless it is a Unix socket
	option.DialCtxFn = func(ctx context.Context, address string, dialer *net.Dialer, _ *tls.Config) (conn net.Conn, err error) {
		latest := current.Load()
		switch {
		case socket != nil:
			conn, err = socket(ctx, address, dialer, nil)
		case dialer.Resolver == sentinels:
			conn, err = connectTo(ctx, address, dialer, latest.option.Sentinel.TLSConfig)
		default:
			conn, err = connectTo(ctx, address, dialer, latest.option.TLSConfig)
		}
		if err != nil {
			return nil, err
		}
		conn = &accessConn{conn, current, latest.url}
		if dialer.Resolver == sentinels {
			conn = sentinelConn{conn}
		}
		return conn, nil
	}
}

func connectTo(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	if config == nil {
		return dialer.DialContext(ctx, "tcp", address)
	}
	secure := tls.Dialer{NetDialer: dialer, Config: config}
	return secure.DialContext(ctx, "tcp", address)
}

var errFormer = errors.New("the connection was made with the user of an earlier configuration, who lacks a right by now")

// An accessConn is a connection that ends when Redis denies something, if another access
// has become the current one since it was made: an operator who has taken an old user's
// rights away does not have to close the connections that it still has.
type accessConn struct {
	net.Conn
	current *atomic.Pointer[access]
	url     string // of the access that it was made with
}

// Read implements net.Conn. An answer that comes in two parts may be missed, but on such a
// connection it is not the last of its kind.
func (c *accessConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.current.Load().url != c.url && denies(b[:n]) {
		return 0, errFormer
	}
	return n, err
}

// denies reports whether one of Redis' answers is that the user lacks a right.
func denies(answers []byte) bool {
	for line := range bytes.Lines(answers) {
		if line[0] != '-' { // it is no error
			continue
		}
		for _, c := range cures {
			if c.cure == missingRight && bytes.Contains(line, []byte(c.prefix)) {
				return true
			}
		}
	}
	return false
}

// A sentinelConn is a connection to a sentinel, whose users are not those of the servers.
type sentinelConn struct{ net.Conn }

type sentinelAddress struct{ net.Addr }

func (c sentinelConn) RemoteAddr() net.Addr { return sentinelAddress{c.Conn.RemoteAddr()} }

// Interface guards
var (
	_ hub.Renewer      = (*Broker)(nil)
	_ keystore.Renewer = (*Keystore)(nil)
)
