package manage

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

const (
	// changeTimeout is how long a request for a change waits for a keystore that
	// completes none.
	changeTimeout = 5 * time.Second

	// changeGrace replaces it while the server shuts down: Caddy waits for open
	// requests.
	changeGrace = time.Second

	// changeTick is how often a waiting request looks at both.
	changeTick = 250 * time.Millisecond

	// maxHangingChanges bounds the changes that are left behind. While there
	// are as many, others are refused.
	maxHangingChanges = 64
)

// changes counts the changes that requests wait for. The zero value is ready
// for use.
type changes struct {
	completed atomic.Int64
	hanging   atomic.Int32 // whose requests have been answered
}

// A HangingError says that nobody knows yet what comes of a change.
type HangingError struct{ refusal *apierr.Error }

// Error implements error.
func (e HangingError) Error() string { return e.refusal.Error() }

// Unwrap implements errors.As.
func (e HangingError) Unwrap() error { return e.refusal }

// complete makes a change and waits for it. A disk that hangs must not hold
// requests, as an exit waits for them: if no change completes for changeTimeout,
// it returns a HangingError while the change goes on. do must not use the
// request.
func complete[T any](o Operator, do func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
		panic string
	}
	var none T
	c := &o.gateway.changes
	if n := c.hanging.Load(); n >= maxHangingChanges {
		return none, apierr.Unavailable(fmt.Sprintf("%d changes have not been written yet, the disk of the keystore hangs. Nothing was changed. "+
			"See to the disk of %s.", n, o.gateway.KeystorePlace), changeTimeout)
	}
	ended := make(chan outcome, 1)
	go func() {
		var made outcome
		defer func() {
			if p := recover(); p != nil {
				made.panic = fmt.Sprintf("%v\n\n%s", p, debug.Stack())
			}
			if made.err == nil { // a refusal may not have reached the keystore
				c.completed.Add(1)
			}
			ended <- made
		}()
		made.value, made.err = do()
	}()
	tick := time.NewTicker(changeTick)
	defer tick.Stop()
	seen := c.completed.Load()
	var took time.Duration // in ticks: while the process is stopped there are none
	for {
		select {
		case made := <-ended:
			if made.panic != "" {
				panic(made.panic)
			}
			return made.value, made.err
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
	o.logger.Error("a change has not been written and was abandoned; the keystore's disk hangs", zap.String("dir", o.gateway.KeystorePlace))
	go func() {
		made := <-ended
		c.hanging.Add(-1)
		if made.panic != "" {
			o.logger.Error("panic in an abandoned change", zap.String("panic", made.panic))
			return
		}
		o.logger.Warn("an abandoned change has ended", zap.NamedError("result", made.err))
	}()
	return none, HangingError{apierr.Unavailable(fmt.Sprintf("The change has not been written, the disk of the keystore hangs. It may still be made: "+
		"see to the disk of %s, and look before you repeat it.", o.gateway.KeystorePlace), changeTimeout)}
}
