package load

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Stall connects n more sockets to channel 0 that subscribe and never read
// again. They are not expected to receive anything.
func (c *Crowd) Stall(n, parallel int) error {
	return each(n, parallel, func(int) error {
		s, err := c.dial(c.target, Channel(0))
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.stalled = append(c.stalled, s)
		c.mu.Unlock()
		return nil
	})
}

// CutOff is how many of the stalled the server has cut off. They are read to
// their end to see it.
func (c *Crowd) CutOff() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	var n atomic.Int64
	var wg sync.WaitGroup
	for _, s := range c.stalled {
		wg.Go(func() {
			_ = s.conn.SetReadDeadline(time.Now().Add(patience))
			_, err := io.Copy(io.Discard, s.conn)
			if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return int(n.Load())
}
