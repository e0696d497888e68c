package manage

import (
	"fmt"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

const (
	// changeTimeout is how long a request waits for its change while the
	// keystore completes none.
	changeTimeout = 5 * time.Second

	// changeGrace replaces changeTimeout during shutdown: Caddy waits for open
	// requests.
	changeGrace = time.Second

	// changeTick is the interval at which a waiting request checks both.
	changeTick = 250 * time.Millisecond

	// maxHangingChanges limits the abandoned changes that are still running. At
	// the limit, new changes are refused.
	maxHangingChanges = 64
)

// changes counts the changes that requests wait for. The zero value is ready to
// use.
type changes struct {
	completed atomic.Int64
	hanging   atomic.Int32 // abandoned: their requests have been answered
}

// A HangingError reports that the outcome of a change is not known yet.
type HangingError struct{ refusal *apierr.Error }

// Error implements error.
func (e HangingError) Error() string { return e.refusal.Error() }

// Unwrap returns the error to show, for errors.As.
func (e HangingError) Unwrap() error { return e.refusal }

// complete makes a change that has a result, as wait does. After an error there is none.
func complete[T any](o Operator, do func() (T, error)) (result T, err error) {
	var made T // a change that continues still sets it
	err = o.wait(func() (err error) {
		made, err = do()
		return err
	})
	if err == nil {
		result = made
	}
	return result, err
}

// wait makes a change and waits for it. A hanging disk must not block requests forever,
// because an exit waits for them: if no change completes within changeTimeout, wait
// returns a HangingError and the change continues. do must not use the request.
func (o Operator) wait(do func() error) error {
	type outcome struct {
		err   error
		panic string
	}
	c := &o.gateway.changes
	if n := c.hanging.Load(); n >= maxHangingChanges {
		what, see := o.gateway.hang()
		return apierr.Unavailable(fmt.Sprintf("%d changes have not been written yet, %s. Nothing was changed. First %s.", n, what, see), changeTimeout)
	}
	ended := make(chan outcome, 1)
	go func() {
		var made outcome
		defer func() {
			if p := recover(); p != nil {
				made.panic = fmt.Sprintf("%v\n\n%s", p, debug.Stack())
			}
			if made.err == nil { // a refused change may not have reached the keystore
				c.completed.Add(1)
			}
			ended <- made
		}()
		made.err = do()
	}()
	tick := time.NewTicker(changeTick)
	defer tick.Stop()
	seen := c.completed.Load()
	var took time.Duration // counted in ticks, which stop while the process is suspended
	for {
		select {
		case made := <-ended:
			if made.panic != "" {
				panic(made.panic)
			}
			return made.err
		case <-tick.C:
			took += changeTick
			if n := c.completed.Load(); n != seen {
				seen, took = n, 0
			}
			if took < changeTimeout && (took < changeGrace || !o.gateway.Draining()) {
				continue
			}
		}
		break
	}
	c.hanging.Add(1)
	o.logger.Error("a change has not been written and was abandoned; the keystore hangs", zap.String("keystore", o.gateway.KeystorePlace))
	go func() {
		made := <-ended
		c.hanging.Add(-1)
		if made.panic != "" {
			o.logger.Error("panic in an abandoned change", zap.String("panic", made.panic))
			return
		}
		o.logger.Warn("an abandoned change has ended", zap.NamedError("result", made.err))
	}()
	what, see := o.gateway.hang()
	return HangingError{apierr.Unavailable(fmt.Sprintf("The change has not been written, %s. It may still be made: %s, and look before you repeat it.", what, see), changeTimeout)}
}

// hang says what hangs while no change is written, and what to see to: a directory's disk,
// or a server.
func (g *Gateway) hang() (what, see string) {
	if strings.Contains(g.KeystorePlace, "://") {
		return "the server of the keystore does not answer", "see to " + g.KeystorePlace
	}
	return "the disk of the keystore hangs", "see to the disk of " + g.KeystorePlace
}
