package socketio

import (
	"bytes"
	"context"
	"errors"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// maxWaiting bounds what waits of a client whose last event takes time, in bytes: a
// subscribe to each of some thousand channels.
const maxWaiting = 1 << 20

// waitingSize is what a message takes beside its bytes, so that empty ones are
// bounded, too.
const waitingSize = 32

var errWaiting = errors.New("it sends more than can wait while an event takes its time")

// A rest is what is left of an event that takes time. What its client sends next
// waits behind it, in order, while heartbeats are answered and events are sent.
type rest struct {
	cancel  context.CancelFunc
	waiting []waiting
	size    int              // of them, in bytes
	closed  *engineio.Reason // why the session has ended, if it has
}

// waiting is a message that waits.
type waiting struct {
	message []byte
	binary  bool
}

// begin has a rest run on a goroutine of its own, which Server.Wait waits for. It
// needs turn.
func (c *conn) begin(do func(context.Context)) {
	if do == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.rest = &rest{cancel: cancel}
	c.server.rests.Go(func() {
		defer c.resume() //nolint:contextcheck // each rest has a context of its own
		defer cancel()
		defer c.contain()
		do(ctx)
	})
}

// resume goes on with what waits, up to the next event that takes time.
func (c *conn) resume() {
	c.turn.Lock()
	defer c.turn.Unlock()
	before := c.rest
	c.rest = nil
	for i, w := range before.waiting {
		if before.closed != nil {
			break // nobody is there to be answered
		}
		c.do(w.message, w.binary)
		if c.rest != nil {
			c.rest.waiting = append(c.rest.waiting, before.waiting[i+1:]...)
			c.rest.size = before.size // no less than it is
			return
		}
	}
	if before.closed != nil {
		defer c.contain()
		c.end(string(*before.closed))
	}
}

// take takes a message now, or later if a rest is under way: it is only lent.
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

// do does what a message asks for. It needs turn.
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
