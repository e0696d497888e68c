package hub

import "context"

// SetAhead bounds how many bytes of messages a channel can be ahead of the
// flushes to its subscribers; 0, the default, means no limit. Publishers that
// are faster than the machine can write then wait for it. Without a limit, they
// fill the queues even of subscribers that read everything they get. Because a
// Flush never blocks, a subscriber that does not read makes nobody wait.
func (h *Hub[P]) SetAhead(bytes int) { h.ahead.Store(int64(bytes)) }

// messageSize is roughly the overhead of a message in a queue.
const messageSize = 64

// admit waits until there is room for a message, and then counts it in owed. It
// returns an error if ctx ends first.
func (c *channel[P]) admit(ctx context.Context, m *Message, limit int64) error {
	size := len(m.Event) + len(m.Data) + messageSize
	c.mu.Lock()
	defer c.mu.Unlock()
	for limit > 0 && c.unflushed > 0 && int64(c.unflushed+size) > limit {
		if c.flushed == nil {
			c.flushed = make(chan struct{})
		}
		flushed := c.flushed
		c.mu.Unlock()
		var err error
		select {
		case <-flushed:
		case <-ctx.Done():
			err = ctx.Err()
		}
		c.mu.Lock()
		if err != nil {
			return err
		}
	}
	c.owed++
	c.unflushed += size
	return nil
}

// settle decrements owed when a publish or a batch is done.
func (c *channel[P]) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owed--; c.owed > 0 {
		return
	}
	c.unflushed = 0
	if c.flushed != nil {
		close(c.flushed)
		c.flushed = nil
	}
}
