package socketio

import (
	"bytes"
	"context"
	"errors"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// maxWaiting bounds the messages, in bytes, that wait for one client while its
// last event takes time: a subscribe to each of some thousand channels.
const maxWaiting = 1 << 20

// waitingSize is the overhead of a waiting message, so that empty messages are
// bounded, too.
const waitingSize = 32

var errWaiting = errors.New("it sends more than can wait while an event takes its time")

// A rest is the unfinished part of an event that takes time. Whatever its
// client sends next waits for it, in order, while heartbeats are answered and
// events are sent.
type rest struct {
	cancel  context.CancelFunc
	waiting []waiting
	size    int              // of waiting, in bytes
	closed  *engineio.Reason // why the session ended, nil if it has not
}

// waiting is one waiting message.
type waiting struct {
	message []byte
	binary  bool
}

// begin runs a rest on its own goroutine, which Server.Wait waits for. The
// caller holds turn.
func (c *conn) begin(do func(context.Context)) {
	if do == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.rest = &rest{cancel: cancel}
	c.server.rests.Go(func() {
		defer c.resume() //nolint:contextcheck // each rest has its own context
		defer cancel()
		defer c.contain()
		do(ctx)
	})
}

// resume handles the waiting messages, up to the next event that takes time.
func (c *conn) resume() {
	c.turn.Lock()
	defer c.turn.Unlock()
	before := c.rest
	c.rest = nil
	for i, w := range before.waiting {
		if before.closed != nil {
			break // no client is left to answer
		}
		c.do(w.message, w.binary)
		if c.rest != nil {
			c.rest.waiting = append(c.rest.waiting, before.waiting[i+1:]...)
			c.rest.size = before.size // an upper bound
			return
		}
	}
	if before.closed != nil {
		defer c.contain()
		c.end(string(*before.closed))
	}
}

// take handles a message now, or copies it for later if a rest is running.
func (c *conn) take(message []byte, binary bool) {
	c.turn.Lock()
	defer c.turn.Unlock()
	if c.rest == nil {
		c.do(message, binary)
		return
	}
	if c.rest.size += len(message) + waitingSize; c.rest.size > maxWaiting {
		c.parseError(errWaiting)
		return
	}
	c.rest.waiting = append(c.rest.waiting, waiting{bytes.Clone(message), binary})
}

// do handles a message. The caller holds turn.
func (c *conn) do(message []byte, binary bool) {
	defer c.contain()
	switch {
	case c.deaf():
	case binary:
		c.binary(message)
	default:
		c.text(message)
	}
}
