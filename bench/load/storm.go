package load

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Stormed is how a storm went.
type Stormed struct {
	Elapsed time.Duration // until the last was subscribed
	Refused int64         // answers of 503
	Failed  int64         // attempts that failed otherwise
}

// The stock client's defaults: how long it waits for a connection, and before
// it tries again, times 0.5 to 1.5 and doubled each time.
const (
	stockTimeout  = 20 * time.Second
	stockDelay    = time.Second
	stockDelayMax = 5 * time.Second
)

// stormLimit ends a storm that does not.
const stormLimit = 2 * time.Minute

// stormAddresses is how many addresses a storm is from: a gateway may have a
// bound for each.
const stormAddresses = 8

// Storm connects n more sockets to channel 0, all at once.
func (c *Crowd) Storm(n int) (Stormed, error) {
	return c.storm(n, func(t *Target, _ int) (*socket, error) { return dialSocket(t, Channel(0), stockTimeout) })
}

// storm connects n more sockets, all at once. Those that are refused or fail try
// again as a stock client does.
func (c *Crowd) storm(n int, dial func(t *Target, i int) (*socket, error)) (Stormed, error) {
	var refusals, failures atomic.Int64
	start := time.Now()
	err := each(n, n, func(i int) error {
		target := *c.target
		target.From = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%stormAddresses))}
		for delay := stockDelay; ; delay = min(2*delay, stockDelayMax) {
			s, err := dial(&target, i)
			if err == nil {
				c.admit(s, false)
				return nil
			}
			if time.Since(start) > stormLimit {
				return err
			}
			if status, ok := errors.AsType[refused](err); ok && status == http.StatusServiceUnavailable {
				refusals.Add(1)
			} else {
				failures.Add(1)
			}
			time.Sleep(delay/2 + rand.N(delay))
		}
	})
	return Stormed{time.Since(start), refusals.Load(), failures.Load()}, err
}
