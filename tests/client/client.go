// Package client is a Socket.IO client for tests that need thousands: it does
// what is said, nothing by itself but to answer heartbeats, and shows every
// packet.
package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Transport is what a client speaks over.
type Transport string

// The three ways of the stock client.
const (
	OverWebSocket Transport = "websocket"
	OverPolling   Transport = "polling"
	Upgraded      Transport = "upgrade"
)

// Config says whom to connect to, and as whom.
type Config struct {
	Addr      string
	Transport Transport
	AppID     string
	Key       string

	// HTTP, if not nil, is what polls go over, to https; several clients may
	// share it.
	HTTP *http.Client

	// OnPacket, if not nil, is called for each Socket.IO packet behind the
	// CONNECT's answer, in order, from one goroutine.
	OnPacket func(packet string)

	// Head, if not 0, is how many bytes of a websocket's packet are read for
	// OnPacket; the rest is thrown away. The race detector makes memory for large
	// packets dear.
	Head int

	// OnReset, if not nil, is called when the connection of a POST or of an
	// upgrade was ended without an answer, as Caddy does at a reload with what
	// its old listener has not read. It is then sent again.
	OnReset func()
}

// connection is what websocket and polling have in common.
type connection interface {
	Read() (string, error)
	Write(packets ...string) error
	Close() error
}

// A Client is connected.
type Client struct {
	cfg     Config
	sid     string
	writing sync.Mutex // held while packets are written, as there is one POST at a time, and while the connection changes
	mu      sync.Mutex // guards conn and moving
	conn    connection
	moving  chan struct{} // not nil while an upgrade waits for the poll to end
	done    chan struct{}
	answers chan string
	err     error // why it ended; to be read after done
	pings   atomic.Int64
}

// IsReset says whether a connection was ended without an answer.
func IsReset(err error) bool {
	var opErr *net.OpError
	if errors.Is(err, syscall.ECONNREFUSED) { // nobody is there
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &opErr)
}

const path = "/socket.io/?EIO=4&transport="

// Dial connects, and returns once the server has let it in.
func Dial(cfg Config) (*Client, error) {
	c := &Client{cfg: cfg, done: make(chan struct{}), answers: make(chan string, 1)}
	if cfg.Transport == OverWebSocket {
		socket, err := DialWebSocket(cfg.Addr, path+"websocket", nil)
		if err != nil {
			return nil, err
		}
		socket.head = cfg.Head
		c.conn = socket
	} else {
		p := DialPolling(cfg.Addr, path+"polling", cfg.HTTP)
		p.onReset = cfg.OnReset
		c.conn = p
	}
	open, err := c.conn.Read()
	if err != nil {
		return nil, errors.Join(err, c.conn.Close())
	}
	if c.sid, err = handshakeID(open); err != nil {
		return nil, errors.Join(err, c.conn.Close())
	}
	if p, ok := c.conn.(*Polling); ok {
		p.url += "&sid=" + c.sid
	}
	auth, _ := json.Marshal(map[string]string{"appId": cfg.AppID, "subscribeKey": cfg.Key})
	if err := c.conn.Write("40" + string(auth)); err != nil {
		return nil, errors.Join(err, c.conn.Close())
	}
	go c.read()
	select {
	case answer := <-c.answers:
		if !strings.HasPrefix(answer, "0") {
			return nil, errors.Join(fmt.Errorf("refused: %s", answer), c.Close())
		}
	case <-c.done:
		return nil, c.err
	case <-time.After(60 * time.Second):
		return nil, errors.Join(errors.New("no answer to CONNECT within 60s"), c.Close())
	}
	if cfg.Transport == Upgraded {
		if err := c.Upgrade(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// read hands packets on until the connection ends.
func (c *Client) read() {
	defer close(c.done)
	connected := false
	for {
		conn := c.current()
		packet, err := conn.Read()
		if err != nil {
			c.err = err
			_ = conn.Close() // as the stock client does
			return
		}
		switch {
		case packet == "2":
			c.pings.Add(1)
			if err := c.Write("3"); err != nil {
				c.err = err
				return
			}
		case packet == "1":
			c.err = errClosed
			return
		case packet == "6":
		case strings.HasPrefix(packet, "4") && !connected:
			connected = true
			c.answers <- packet[1:]
		case strings.HasPrefix(packet, "4"):
			if c.cfg.OnPacket != nil {
				c.cfg.OnPacket(packet[1:])
			}
		default:
			c.err = fmt.Errorf("unexpected packet %q", packet)
			return
		}
	}
}

// current is the connection to read from. At the end of a poll it lets an
// upgrade go on, and waits for it.
func (c *Client) current() connection {
	c.mu.Lock()
	p, polling := c.conn.(*Polling)
	if !polling || c.moving == nil || len(p.ready) > 0 {
		defer c.mu.Unlock()
		return c.conn
	}
	moving := c.moving
	c.mu.Unlock()
	moving <- struct{}{} // the poll has ended
	<-moving             // the websocket has taken over
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// Heartbeats is how many pings have come.
func (c *Client) Heartbeats() int { return int(c.pings.Load()) }

// SID is the id of the Engine.IO session.
func (c *Client) SID() string { return c.sid }

// Upgrade moves a client on polling to a websocket, as the stock client does:
// probe, let the poll end, go over.
func (c *Client) Upgrade() error {
	socket, err := DialWebSocket(c.cfg.Addr, path+"websocket&sid="+c.sid, nil)
	for c.cfg.OnReset != nil && IsReset(err) {
		c.cfg.OnReset()
		socket, err = DialWebSocket(c.cfg.Addr, path+"websocket&sid="+c.sid, nil)
	}
	if err != nil {
		return err
	}
	if err := socket.Write("2probe"); err != nil {
		return err
	}
	answer, err := socket.Read()
	if err != nil || answer != "3probe" {
		return fmt.Errorf("answer to the probe: %q, %w", answer, err)
	}
	moving := make(chan struct{})
	c.mu.Lock()
	c.moving = moving
	old := c.conn
	c.mu.Unlock()
	select {
	case <-moving:
	case <-c.done:
		return fmt.Errorf("while upgrading: %w", c.err)
	}
	c.writing.Lock()
	err = socket.Write("5")
	c.mu.Lock()
	c.conn, c.moving = socket, nil
	c.mu.Unlock()
	c.writing.Unlock()
	close(moving)
	return errors.Join(err, old.Close())
}

// Write sends Engine.IO packets.
func (c *Client) Write(packets ...string) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	return conn.Write(packets...)
}

// Subscribe asks for a channel; the answer comes as a packet.
func (c *Client) Subscribe(channel string) error {
	return c.Write(`42["subscribe","` + channel + `"]`)
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the connection ended, nil while it goes on.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Conn is the transport's connection: *WebSocket or *Polling.
func (c *Client) Conn() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// Close ends the connection and waits for its reader.
func (c *Client) Close() error {
	c.mu.Lock()
	err := c.conn.Close()
	c.mu.Unlock()
	<-c.done
	return err
}
