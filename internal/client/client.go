// Package client listens to a gateway: it connects with an app's subscribe key,
// subscribes to channels and receives the events published to them. It speaks
// Socket.IO 5 on the default namespace over an Engine.IO 4 websocket, and knows
// nothing of the server's code.
//
// A Client is one connection. To stay connected, callers connect again when it
// ends, with a Backoff in between, and resubscribe.
package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Config says where to connect, and with which credentials.
type Config struct {
	// Origin of the site, for example https://example.com. It is required.
	Origin string

	// Path of the Socket.IO endpoint; its trailing slash is optional.
	// Default: /socket.io.
	Path string

	// AppID and SubscribeKey or Token are the credentials. With both, the key lets
	// the client in, and the token into channels.
	AppID, SubscribeKey, Token string

	// Recover asks for recovery. Each event then has an ID, and null as its data
	// if it was published without.
	Recover bool

	// Session and Position are those of an earlier Client that asked for recovery:
	// Client.Session, and the ID of the last event that was handled.
	Session, Position string

	// Timeout bounds Dial as a whole, and each Subscribe. Default: 20s.
	Timeout time.Duration

	// MaxMessage is the maximum size of a received message, in bytes. It also
	// bounds the memory for events that arrive while Subscribe waits. Exceeding
	// it is an ErrTooLarge. Default: DefaultMaxMessage.
	MaxMessage int64
}

// DefaultMaxMessage is four times the largest publish that a gateway accepts by
// default.
const DefaultMaxMessage = 4 << 20

const (
	defaultPath    = "/socket.io"
	defaultTimeout = 20 * time.Second

	// eventOverhead is the memory that an event takes in addition to its text:
	// its place in a slice that has just grown, and the smallest allocations.
	eventOverhead = 192
)

func (c *Config) setDefaults() {
	if c.Path == "" {
		c.Path = defaultPath
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = DefaultMaxMessage
	}
}

// address returns the URL of the websocket.
func (c *Config) address() (string, error) {
	u, err := url.Parse(c.Origin)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%w: %q; for example: https://example.com", ErrOrigin, c.Origin)
	}
	scheme, ok := map[string]string{"http": "ws", "https": "wss"}[u.Scheme]
	if !ok {
		return "", fmt.Errorf("%w: %q begins neither with http:// nor with https://", ErrOrigin, c.Origin)
	}
	endpoint := url.URL{
		Scheme: scheme, Host: u.Host, Path: "/" + strings.Trim(c.Path, "/") + "/",
		RawQuery: "EIO=4&transport=websocket",
	}
	return endpoint.String(), nil
}

// An Event is a published event.
type Event struct {
	Name string
	Data json.RawMessage // as published, nil if there was none
	ID   string          // "" without recovery
}

// A Client is a connection. It has no goroutine of its own: it answers the
// server's heartbeat while Next or Subscribe runs, and is disconnected if
// neither does for long. It must not be used concurrently.
type Client struct {
	cfg         Config
	link        *link
	session     string // see Session
	recovered   bool
	lastID      uint64  // the last acknowledgement id
	waiting     []Event // arrived while Subscribe waited
	waitingSize int64   // their packets and overhead, in bytes
}

// Dial connects, and returns once the server has accepted the credentials. It
// returns a *Refusal if the server refuses them, a *StatusError or
// ErrNoWebSocket if no websocket is opened, ErrOrigin, or a network error.
// Close ends the Client.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	cfg.setDefaults()
	address, err := cfg.address()
	if err != nil {
		return nil, err
	}
	ctx, cancel := cfg.timeout(ctx)
	defer cancel()
	l, err := dialLink(ctx, address, cfg.MaxMessage)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, link: l}
	if err := l.during(ctx, c.connect); err != nil {
		_ = l.conn.Close()
		return nil, err
	}
	return c, nil
}

// timeout bounds how long the server can take to answer.
func (c *Config) timeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("no answer within %s", c.Timeout))
}

// connect reads the handshake and sends the credentials.
func (c *Client) connect() error {
	open, err := c.link.next()
	if err != nil {
		return err
	}
	if open[0] != engineOpen {
		return malformed("no handshake")
	}
	if c.link.silence, err = parseOpen(open[1:]); err != nil {
		return err
	}
	auth, err := c.cfg.auth()
	if err != nil {
		return err
	}
	if err := c.link.send(append([]byte{engineMessage, typeConnect}, auth...)); err != nil {
		return err
	}
	p, err := c.receive()
	switch {
	case err != nil:
		return err
	case p.kind == typeConnectError:
		return p.refusal()
	case p.kind != typeConnect:
		return malformed("a packet of type %q before the connection was accepted", p.kind)
	}
	return c.accepted(p)
}

// receive returns the next Socket.IO packet, and answers heartbeats.
func (c *Client) receive() (packet, error) {
	for {
		text, err := c.link.next()
		if err != nil {
			return packet{}, err
		}
		switch text[0] {
		case engineMessage:
			p, err := parsePacket(text[1:])
			if err == nil && p.kind == typeDisconnect {
				err = ErrDisconnected
			}
			return p, err
		case enginePing:
			if err := c.link.send([]byte{enginePong}); err != nil {
				return packet{}, err
			}
		case engineClose:
			return packet{}, ErrClosed
		case engineNoop:
		default:
			return packet{}, malformed("a transport packet of type %q", text[0])
		}
	}
}

// Subscribe subscribes to a channel, and returns once the server has accepted
// that. What from asks for comes from Next. If the server refuses, it returns a *Refusal and the connection
// continues. Any other error ends the connection, including the context's.
func (c *Client) Subscribe(ctx context.Context, channel string, from From) (standing Standing, err error) {
	ctx, cancel := c.cfg.timeout(ctx)
	defer cancel()
	err = c.link.during(ctx, func() error {
		c.lastID++
		request, err := subscribeRequest(c.lastID, channel, from)
		if err != nil {
			return err
		}
		if err := c.link.send(request); err != nil {
			return err
		}
		standing, err = c.awaitAnswer(channel)
		return err
	})
	return standing, err
}

// awaitAnswer keeps events that arrive before the acknowledgement.
func (c *Client) awaitAnswer(channel string) (Standing, error) {
	for {
		p, err := c.receive()
		if err != nil {
			return Standing{}, err
		}
		switch p.kind {
		case typeAck:
			if p.id == c.lastID {
				return p.subscribed(channel)
			}
		case typeEvent:
			e, err := p.event()
			if err != nil {
				return Standing{}, err
			}
			if err := e.expulsion(); err != nil {
				return Standing{}, err
			}
			if e.isAnswer() {
				continue
			}
			if c.waitingSize += eventOverhead + int64(len(p.payload)); c.waitingSize > c.cfg.MaxMessage {
				return Standing{}, fmt.Errorf("%w: too many events arrived before the answer to a subscribe", ErrTooLarge)
			}
			c.waiting = append(c.waiting, e)
		}
	}
}

// Next returns the next event, in the order of publication. An error ends the
// connection, including the context's. It is a *Refusal if the server took the client
// out of a channel.
func (c *Client) Next(ctx context.Context) (Event, error) {
	if len(c.waiting) > 0 {
		e := c.waiting[0]
		c.waiting = c.waiting[1:]
		if len(c.waiting) == 0 {
			c.waiting, c.waitingSize = nil, 0
		}
		return e, nil
	}
	var e Event
	err := c.link.during(ctx, func() error {
		for {
			p, err := c.receive()
			if err != nil {
				return err
			}
			if p.kind != typeEvent {
				continue
			}
			if e, err = p.event(); err == nil {
				err = e.expulsion()
			}
			if err != nil || !e.isAnswer() {
				return err
			}
		}
	})
	if err != nil {
		return Event{}, err
	}
	return e, nil
}

// isAnswer reports whether an event is the gateway's own answer to a client,
// which Subscribe gets from the acknowledgement. Nobody can publish these
// names.
func (e Event) isAnswer() bool {
	switch e.Name {
	case "subscribed", "unsubscribed", "subscribe_error":
		return true
	}
	return false
}

// expulsion returns a *Refusal if the event says that the server took the client out
// of a channel, or nil. This client never asks for that.
func (e Event) expulsion() error {
	var out struct{ Channel, Code, Message string }
	if e.Name != "unsubscribed" || json.Unmarshal(e.Data, &out) != nil || out.Code == "" {
		return nil //nolint:nilerr // it is none
	}
	return &Refusal{Channel: out.Channel, Code: out.Code, Message: cmp.Or(out.Message, out.Code)}
}

// Close tells the server and ends the connection. It takes at most a second.
func (c *Client) Close() error {
	return c.link.goodbye([]byte{engineMessage, typeDisconnect})
}
