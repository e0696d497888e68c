package hub

import "context"

// messageSize is roughly the overhead of a message in a queue.
const messageSize = 64

// size returns roughly what the message takes in a queue.
func (m *Message) size() int { return len(m.Event) + len(m.Data) + messageSize }

// admit waits until there is room for a message, and then counts it in owed. It
// returns an error if ctx ends first.
func (c *channel[P]) admit(ctx context.Context, m *Message, limit int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.room(ctx, m.size(), limit); err != nil {
		return err
	}
	c.count(m)
	return nil
}

// await is admit without counting the message.
func (c *channel[P]) await(ctx context.Context, m *Message, limit int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.room(ctx, m.size(), limit)
}

// count counts a message that is about to be published. The caller holds mu.
func (c *channel[P]) count(m *Message) {
	c.owed++
	c.unflushed += m.size()
}

// room waits until there is room for a message of that size. The caller holds
// mu, which is released while it waits.
func (c *channel[P]) room(ctx context.Context, size int, limit int64) error {
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
