package load

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// sampled is how many sockets of a crowd look at the time.
const sampled = 100

// A Crowd is the subscribers of a server.
type Crowd struct {
	target   *Target
	mu       sync.Mutex // guards sockets and stalled
	sockets  []*socket
	stalled  []*socket
	reading  sync.WaitGroup
	closing  atomic.Bool
	dropped  atomic.Int64
	stuck    atomic.Int64
	received atomic.Int64
	last     atomic.Int64 // when the goal was reached
	goal     atomic.Int64
	reached  chan struct{}
	size     atomic.Int64 // the least length of a delivery
}

// NewCrowd has no members yet.
func NewCrowd(target *Target) *Crowd {
	c := &Crowd{target: target, reached: make(chan struct{}, 1)}
	c.goal.Store(1 << 62)
	c.size.Store(int64(minPayload))
	return c
}

// Join connects n more sockets, so many at a time, the i-th to channel i
// modulo channels, which is of app i modulo apps.
func (c *Crowd) Join(n, channels, apps, parallel int) error {
	every := max(1, n/sampled)
	return each(n, parallel, func(i int) error {
		s, err := c.dial(c.target.of(i%channels, apps), Channel(i%channels))
		if err == nil {
			c.admit(s, i%every == 0)
		}
		return err
	})
}

// admit has a socket counted in.
func (c *Crowd) admit(s *socket, sampled bool) {
	s.crowd, s.sampled = c, sampled
	c.mu.Lock()
	c.sockets = append(c.sockets, s)
	c.mu.Unlock()
	c.reading.Go(s.read)
}

// each calls do for 0 to n-1, so many at a time, and no more after a failure.
func each(n, parallel int, do func(int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	var failure atomic.Pointer[error]
	for range min(parallel, n) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || failure.Load() != nil {
					return
				}
				if err := do(i); err != nil {
					err = fmt.Errorf("socket %d of %d: %w", i, n, err)
					failure.CompareAndSwap(nil, &err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := failure.Load(); err != nil {
		return *err
	}
	return nil
}

// attempts are how often a socket tries to connect: one of the servers loses
// a CONNECT now and then.
const attempts = 3

func (c *Crowd) dial(target *Target, channel string) (*socket, error) {
	for left := attempts - 1; ; left-- {
		s, err := dialSocket(target, channel, connectTimeout)
		if timeout, ok := errors.AsType[net.Error](err); left == 0 || !ok || !timeout.Timeout() {
			return s, err
		}
		c.stuck.Add(1)
	}
}

// Stuck is how many got no answer when they connected, and tried again.
func (c *Crowd) Stuck() int64 { return c.stuck.Load() }

// Size is how many have joined.
func (c *Crowd) Size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sockets)
}

// Dropped is how many the server has disconnected.
func (c *Crowd) Dropped() int64 { return c.dropped.Load() }

// Close resets every connection, so that none stays behind in TIME_WAIT.
func (c *Crowd) Close() {
	c.closing.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range append(c.sockets, c.stalled...) {
		s.reset()
	}
	c.sockets, c.stalled = nil, nil
}

// begin starts to count, from nothing.
func (c *Crowd) begin(size int) {
	c.size.Store(int64(size))
	c.goal.Store(1 << 62)
	c.received.Store(0)
	c.latencies()
}

func (c *Crowd) delivered(n int64) {
	if c.received.Add(n) >= c.goal.Load() {
		c.last.Store(now())
		select {
		case c.reached <- struct{}{}:
		default:
		}
	}
}

// ended is called by a socket that reads no more.
func (c *Crowd) ended() {
	if !c.closing.Load() {
		c.dropped.Add(1)
	}
}

// patience is how long nothing may arrive before the rest is given up.
const patience = 5 * time.Second

// expect says how many deliveries to await. It comes before what causes them,
// or at least before await.
func (c *Crowd) expect(goal int64) {
	c.goal.Store(goal)
	select { // of a goal before
	case <-c.reached:
	default:
	}
}

// await waits until all that is expected was received, or no more comes, and
// returns when the last did.
func (c *Crowd) await() int64 {
	goal := c.goal.Load()
	if c.received.Load() >= goal {
		return now()
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	before, at := c.received.Load(), now()
	for {
		select {
		case <-c.reached:
			if c.received.Load() >= goal {
				return c.last.Load()
			}
		case <-timer.C:
			received := c.received.Load()
			if received == before {
				return at
			}
			before, at = received, now()
			timer.Reset(patience)
		}
	}
}

// latencies takes what the sampled sockets saw, in order of size.
func (c *Crowd) latencies() []int64 {
	var all []int64
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sockets {
		if s.sampled {
			s.mu.Lock()
			all = append(all, s.latencies...)
			s.latencies = s.latencies[:0]
			s.mu.Unlock()
		}
	}
	slices.Sort(all)
	return all
}
